"""Image, masks and boxes move together, whatever is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from overread.data.augment import augment
from overread.data.marks import PreparedMarks
from overread.data.section import AugmentationSection

FEW = settings(max_examples=50, deadline=None)
seeds = st.integers(0, 10**6)
sizes = st.tuples(st.integers(40, 90), st.integers(40, 90))
boxes_of = st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(8, 24), st.integers(8, 24))

mirrors = st.fixed_dictionaries({"flip": st.booleans(), "flip_vertical": st.booleans(), "quarter_turns": st.booleans()})
zooms = st.tuples(st.floats(0.6, 1.0), st.floats(1.0, 1.6))
moves = st.builds(
    lambda kept, **more: AugmentationSection(**kept, **more),
    mirrors,
    shift=st.sampled_from([0.0, 0.1]),
    zoom=st.just((1.0, 1.0)) | zooms,
    crop=st.none() | st.sampled_from([32, 48, 64, 100]),
)


def drawn(size, placed, *, masks: bool):
    """A dark image with one bright rectangle, and its mark."""
    rows, columns = size
    across, down, width, height = placed
    left, top = round(across * (columns - width)), round(down * (rows - height))
    pixels = np.zeros((1, rows, columns), dtype=np.float32)
    pixels[:, top : top + height, left : left + width] = 1
    bitmap = (left, top, np.ones((height, width), dtype=bool))
    box = np.array([[left, top, left + width, top + height]], dtype=np.float32)
    return pixels, PreparedMarks(box, np.array([3]), (bitmap,) if masks else None)


def bright_box(image: torch.Tensor) -> np.ndarray:
    """The edges of the one bright rectangle, to a part of a pixel: where its profile has half of its height."""
    edges = []
    for axis in (0, 1):
        profile = image[0].double().sum(axis).numpy()
        profile = profile / profile.max()
        first, last = np.flatnonzero(profile > 0.5)[[0, -1]]
        edges.append((first + 1 - profile[max(first - 1, 0) : first + 1].sum() if first else 1 - profile[0], last))
        beyond = profile[last : last + 2].sum()
        edges[-1] = (edges[-1][0], last + beyond)
    return np.array([edges[0][0], edges[1][0], edges[0][1], edges[1][1]])


@FEW
@given(sizes, boxes_of, moves, seeds)
def test_a_box_stays_around_its_lesion(size, placed, section, seed) -> None:
    pixels, marks = drawn(size, placed, masks=False)
    image, truths = augment(pixels, marks, section, np.random.default_rng(seed))
    assert truths is not None
    assert truths.masks is None
    if len(truths.boxes):
        assert truths.classes.tolist() == [3]
        box = truths.boxes[0].numpy()
        if (box[2:] - box[:2]).min() >= 4:  # of less than that the profile says little
            np.testing.assert_allclose(box, bright_box(image), atol=0.35)
    else:
        whole = placed[2] * placed[3] * section.zoom[1] ** 2
        assert float(image.sum()) < 0.15 * whole + 40


@FEW
@given(sizes, boxes_of, st.sampled_from([1 / 3, 3.0]), seeds)
def test_a_crop_that_is_much_enlarged_or_shrunk_moves_its_box_by_no_half_pixel(size, placed, zoom, seed) -> None:
    pixels, marks = drawn(size, (*placed[:2], placed[2] + 16, placed[3] + 16), masks=False)
    section = AugmentationSection(zoom=(zoom, zoom), crop=96 if zoom > 1 else 48)
    image, truths = augment(pixels, marks, section, np.random.default_rng(seed))
    assert truths is not None
    if len(truths.boxes) and (truths.boxes[0, 2:] - truths.boxes[0, :2]).min() >= 4:
        np.testing.assert_allclose(truths.boxes[0].numpy(), bright_box(image), atol=0.3)


@FEW
@given(sizes, boxes_of, moves, st.sampled_from([0.0, 15.0, 90.0]), seeds)
def test_a_mask_covers_its_lesion_and_nothing_else(size, placed, section, degrees, seed) -> None:
    section = section.model_copy(update={"rotation_degrees": degrees})
    pixels, marks = drawn(size, placed, masks=True)
    image, truths = augment(pixels, marks, section, np.random.default_rng(seed))
    assert truths is not None
    assert truths.masks is not None
    bright = image[0].numpy() > 0.5
    if not len(truths.boxes):
        assert bright.sum() < 0.15 * placed[2] * placed[3] * section.zoom[1] ** 2 + 40
        return
    mask = truths.masks[0].numpy().astype(bool)
    assert mask.shape == bright.shape
    assert not (ndimage.binary_erosion(mask) & ~bright).any()
    assert not (bright & ~ndimage.binary_dilation(mask)).any()
    if mask.sum() > 60 and not any(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])):
        middle = [ndimage.center_of_mass(one) for one in (mask, bright)]
        twice = section.crop is not None and section.zoom != (1.0, 1.0) and bool(section.shift or degrees)
        # the nearest pixel is up to half a pixel off, each time that one is looked for
        np.testing.assert_allclose(*middle, atol=1.1 if twice else 0.6)


@FEW
@given(sizes, boxes_of, mirrors, st.none() | st.sampled_from([32, 48, 100]), seeds)
def test_without_interpolation_a_mask_is_exactly_its_lesion(size, placed, mirrored, crop, seed) -> None:
    pixels, marks = drawn(size, placed, masks=True)
    section = AugmentationSection(**mirrored, crop=crop)
    image, truths = augment(pixels, marks, section, np.random.default_rng(seed))
    assert truths is not None
    assert truths.masks is not None
    if len(truths.boxes):
        assert torch.equal(truths.masks[0].bool(), image[0] > 0.5)
        assert truths.boxes[0].tolist() == bright_box(image).tolist()


@FEW
@given(sizes, st.lists(boxes_of, max_size=4), moves, st.tuples(st.booleans(), st.booleans()), seeds)
def test_marks_are_never_outside_or_empty_and_masks_fit_their_boxes(size, placed, section, how, seed) -> None:
    turned, masks = how
    section = section.model_copy(update={"rotation_degrees": 180.0 * (turned and masks), "shift": 0.5})
    alone = [drawn(size, one, masks=masks)[1] for one in placed]
    marks = PreparedMarks(
        np.concatenate([one.boxes for one in alone] or [np.zeros((0, 4), np.float32)]),
        np.arange(len(alone)),
        tuple(one.bitmaps[0] for one in alone) if masks else None,
    )
    image, truths = augment(np.zeros((3, *size), np.float32), marks, section, np.random.default_rng(seed))
    assert truths is not None
    rows, columns = image.shape[1:]
    left, top, right, bottom = truths.boxes.unbind(1)
    assert ((left >= 0) & (top >= 0) & (right <= columns) & (bottom <= rows)).all()
    assert ((right > left) & (bottom > top)).all()
    assert truths.boxes.dtype == torch.float32
    assert truths.classes.dtype == torch.int64
    assert len(truths.classes) == len(truths.boxes)
    assert set(truths.classes.tolist()) <= set(range(len(alone)))
    assert (truths.masks is not None) == masks
    if truths.masks is not None:
        assert truths.masks.shape == (len(truths.boxes), rows, columns)
        assert truths.masks.dtype == torch.uint8
        for mask, box in zip(truths.masks, truths.boxes, strict=True):
            hit = torch.nonzero(mask)
            around = torch.cat([hit.amin(0).flip(0), hit.amax(0).flip(0) + 1])
            assert torch.equal(around.float(), box)


@FEW
@given(sizes, boxes_of, st.booleans(), seeds)
def test_where_nothing_may_vary_nothing_does(size, placed, masks, seed) -> None:
    pixels, marks = drawn(size, placed, masks=masks)
    for section in (None, AugmentationSection()):
        image, truths = augment(pixels, marks, section, np.random.default_rng(seed))
        assert truths is not None
        assert np.array_equal(image.numpy(), pixels)
        assert np.array_equal(truths.boxes.numpy(), marks.boxes)
        if truths.masks is not None:
            assert np.array_equal(truths.masks[0].numpy(), pixels[0])


@FEW
@given(sizes, boxes_of, moves, seeds)
def test_the_same_random_numbers_make_the_same_copy_with_and_without_marks(size, placed, section, seed) -> None:
    section = section.model_copy(update={"brightness": 0.2, "contrast": 0.2, "noise": 0.1, "crop": None})
    pixels, marks = drawn(size, placed, masks=True)
    first, again = (augment(pixels, marks, section, np.random.default_rng(seed)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].boxes, again[1].boxes)
    unmarked, nothing = augment(pixels, None, section, np.random.default_rng(seed))
    assert nothing is None
    assert torch.equal(unmarked, first[0])


@FEW
@given(sizes, boxes_of, moves, seeds)
def test_an_image_and_its_marks_are_left_alone(size, placed, section, seed) -> None:
    section = section.model_copy(update={"brightness": 0.5, "noise": 0.2})
    pixels, marks = drawn(size, placed, masks=True)
    before = pixels.copy(), marks.boxes.copy(), marks.bitmaps[0][2].copy()
    for array in (pixels, marks.boxes, marks.bitmaps[0][2]):
        array.setflags(write=False)
    augment(pixels, marks, section, np.random.default_rng(seed))
    for array, old in zip((pixels, marks.boxes, marks.bitmaps[0][2]), before, strict=True):
        assert np.array_equal(array, old)


@FEW
@given(sizes, st.floats(0.7, 1.4), seeds)
def test_a_crop_has_its_size_and_is_padded_with_the_darkest_value(size, zoom, seed) -> None:
    pixels = np.full((2, *size), 5, dtype=np.float32)
    pixels[:, 0, 0] = -7
    section = AugmentationSection(crop=128, zoom=(zoom, zoom))
    image, _ = augment(pixels, None, section, np.random.default_rng(seed))
    assert image.shape == (2, 128, 128)
    assert float(image.min()) == pytest.approx(-7)
    whole = (image[0] > -1).sum()
    assert float(whole) == pytest.approx(size[0] * size[1] * zoom**2, rel=0.1)


def test_a_crop_shows_a_lesion_more_often_than_chance_but_not_always() -> None:
    pixels, marks = drawn((90, 90), (0.05, 0.05, 8, 8), masks=False)
    section = AugmentationSection(crop=32)
    shown = [len(augment(pixels, marks, section, np.random.default_rng(seed))[1].boxes) for seed in range(300)]
    assert 0.6 < np.mean(shown) < 0.95


def test_a_lesion_of_which_less_than_a_tenth_is_left_is_no_truth() -> None:
    pixels = np.zeros((1, 40, 200), dtype=np.float32)
    marks = PreparedMarks(np.array([[100, 0, 200, 40]], np.float32), np.array([0]), None)
    section = AugmentationSection(crop=40)
    left = [augment(pixels, marks, section, np.random.default_rng(seed))[1].boxes for seed in range(200)]
    widths = [float(boxes[0, 2] - boxes[0, 0]) for boxes in left if len(boxes)]
    assert min(widths) >= 10
    assert len(widths) < len(left)


def _mean_of(name: str, value: float) -> tuple[list[float], list[float]]:
    pixels = np.linspace(0, 10, 50 * 50, dtype=np.float32).reshape(1, 50, 50)
    section = AugmentationSection(**{name: value})
    images = [augment(pixels, None, section, np.random.default_rng(seed))[0] for seed in range(60)]
    return [float(one.mean()) for one in images], [float(one.std()) for one in images]


def test_brightness_moves_the_mean_by_at_most_its_share_of_the_range_and_nothing_else() -> None:
    means, spreads = _mean_of("brightness", 0.2)
    assert 6.5 < max(means) <= 7.0 + 1e-3
    assert 3.0 - 1e-3 <= min(means) < 3.5
    assert np.ptp(spreads) < 1e-3


def test_contrast_stretches_around_the_mean() -> None:
    means, spreads = _mean_of("contrast", 0.3)
    assert np.ptp(means) < 1e-3
    plain = float(np.linspace(0, 10, 2500).std())
    assert 1.2 < max(spreads) / plain <= 1.301
    assert 0.699 <= min(spreads) / plain < 0.8


def test_noise_has_at_most_its_share_of_the_range_and_never_moves_the_mean() -> None:
    pixels = np.zeros((1, 100, 100), dtype=np.float32)
    pixels[0, 0, 0] = 10
    section = AugmentationSection(noise=0.05)
    copies = [augment(pixels, None, section, np.random.default_rng(seed))[0].numpy() for seed in range(40)]
    spread = [float((copy - pixels).std()) for copy in copies]
    assert 0.4 < max(spread) < 0.52
    assert min(spread) < 0.1


@pytest.mark.parametrize("section", [{"flip": True}, {"flip_vertical": True}])
def test_a_mirror_is_held_up_half_of_the_time(section) -> None:
    pixels = np.zeros((1, 4, 4), dtype=np.float32)
    pixels[0, 0, 0] = 1
    copies = [augment(pixels, None, AugmentationSection(**section), np.random.default_rng(s))[0] for s in range(200)]
    seen = [bool(copy[0, 0, 0] == 1) for copy in copies]
    assert 0.35 < np.mean(seen) < 0.65


def test_quarter_turns_turn_by_all_four_and_swap_the_sides() -> None:
    pixels = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    section = AugmentationSection(quarter_turns=True)
    copies = [augment(pixels, None, section, np.random.default_rng(seed))[0][0].tolist() for seed in range(60)]
    expected = [np.rot90(pixels[0], turns).tolist() for turns in range(4)]
    assert all(turned in copies for turned in expected)
    assert all(copy in expected for copy in copies)
