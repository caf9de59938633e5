"""Marks follow the pixels to the prepared image and back."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.errors import InputError
from overread.finding import Mask
from overread.image import Image
from overread.preprocessing import Step, prepare
from overread.preprocessing.placement import (
    boxes_to_original,
    boxes_to_prepared,
    mask_to_prepared,
    masks_to_prepared,
    paste_mask,
    slices_to_original,
)
from overread.preprocessing.runs import crop_of, mask_from_crop
from overread.preprocessing.section import step_from

sides = st.integers(8, 48)


@st.composite
def chains(draw: st.DrawFn) -> list[Step]:
    """One to three steps that move pixels."""
    one = st.one_of(
        st.builds(lambda h, w: {"step": "resize", "height": h, "width": w}, sides, sides),
        st.builds(lambda f: {"step": "resize", "factor": f}, st.floats(0.3, 3)),
        st.builds(lambda m: {"step": "crop-foreground", "margin_px": m}, st.integers(2, 6)),
        st.just({"step": "min-max"}),
    )
    return [step_from(settings) for settings in draw(st.lists(one, min_size=1, max_size=3))]


@st.composite
def marked(draw: st.DrawFn) -> tuple[Image, tuple[int, int, int, int]]:
    """A dark image with one bright rectangle, and the rectangle as (left, top, right, bottom)."""
    rows, columns = draw(sides), draw(sides)
    top, left = draw(st.integers(0, rows - 4)), draw(st.integers(0, columns - 4))
    bottom, right = draw(st.integers(top + 2, rows)), draw(st.integers(left + 2, columns))
    pixels = np.zeros((1, rows, columns), dtype=np.float32)
    pixels[0, top:bottom, left:right] = 1
    return Image(pixels), (left, top, right, bottom)


def rectangle(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


@settings(max_examples=50, deadline=None)
@given(marked(), chains())
def test_a_box_moved_there_and_back_is_the_same_box(mark: tuple, chain: list[Step]) -> None:
    image, box = mark
    prepared = prepare(image, chain)
    there = boxes_to_prepared(np.array([box]), prepared)
    height, width = prepared.shape
    assert (there >= 0).all()
    assert (there <= [width, height, width, height]).all()
    np.testing.assert_allclose(boxes_to_original(there, prepared), [box], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(marked(), st.floats(0.3, 3), sides, sides)
def test_box_mask_and_pixels_agree_after_the_steps(mark: tuple, factor: float, height: int, width: int) -> None:
    image, box = mark
    chain = [{"step": "crop-foreground", "margin_px": 3}, {"step": "resize", "factor": factor}]
    chain += [{"step": "resize", "height": height, "width": width, "pad_value": 0}]
    prepared = prepare(image, [step_from(settings) for settings in chain])
    (there,) = boxes_to_prepared(np.array([box]), prepared)
    mask = mask_to_prepared(rectangle(image.shape, box), prepared)
    rows, columns = np.indices(prepared.shape) + 0.5
    inside = np.minimum.reduce([columns - there[0], there[2] - columns, rows - there[1], there[3] - rows])
    if mask.sum() > 1:
        assert mask[inside > 1e-3].all()
        assert not mask[inside < -1e-3].any()
    blur = 1 + 2 * max(1, prepared.to_original[0, 0] ** -1, prepared.to_original[1, 1] ** -1)
    assert (prepared.pixels[0][inside > blur] > 0.5).all()
    assert (prepared.pixels[0][inside < -blur] < 0.5).all()


@settings(max_examples=50, deadline=None)
@given(marked(), chains())
def test_a_mask_never_vanishes_and_comes_back_within_half_a_prepared_pixel(mark: tuple, chain: list[Step]) -> None:
    image, box = mark
    prepared = prepare(image, chain)
    bitmap = mask_to_prepared(rectangle(image.shape, box), prepared)
    assert bitmap.any()
    rows, columns = np.nonzero(bitmap)
    edges = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=float)
    (back,) = boxes_to_original(edges, prepared)
    pixel = abs(np.array([prepared.to_original[0, 0], prepared.to_original[1, 1]] * 2))
    # half a prepared pixel, and half an original one for the nearest sampling
    slack = pixel / 2 + 0.5 if bitmap.sum() > 1 else np.maximum(pixel, 1) + abs(back - box)
    assert (abs(back - box) <= slack + 1e-6).all()


@settings(max_examples=50, deadline=None)
@given(st.data(), chains())
def test_a_single_pixel_is_kept_however_small_the_image_becomes(data: st.DataObject, chain: list[Step]) -> None:
    image, box = data.draw(marked())
    prepared = prepare(image, chain)
    row, column = data.draw(st.integers(box[1], box[3] - 1)), data.draw(st.integers(box[0], box[2] - 1))
    mask = np.zeros(image.shape, dtype=bool)
    mask[row, column] = True
    bitmap = mask_to_prepared(mask, prepared)
    (there,) = boxes_to_prepared(np.array([[column, row, column + 1, row + 1]]), prepared)
    rows, columns = np.nonzero(bitmap)
    assert len(rows) >= 1
    assert (columns >= np.floor(there[0]) - 1e-6).all()
    assert (columns <= np.ceil(there[2])).all()
    assert (rows >= np.floor(there[1]) - 1e-6).all()
    assert (rows <= np.ceil(there[3])).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), chains())
def test_many_small_masks_go_where_whole_ones_go(seed: int, chain: list[Step]) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(8, 40, 2))
    image = Image(rng.random((1, *shape)).astype(np.float32))
    prepared = prepare(image, chain)
    arrays = [rng.random(shape) < density for density in (0, 0.01, 0.3, 1)]
    arrays.append(np.zeros(shape, dtype=bool))
    arrays[-1][-1, -1] = True
    for array, (left, top, bitmap) in zip(
        arrays, masks_to_prepared([Mask.from_array(array) for array in arrays], prepared), strict=True
    ):
        whole = np.zeros(prepared.shape, dtype=bool)
        whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
        np.testing.assert_array_equal(whole, mask_to_prepared(array, prepared))


def test_without_steps_a_mask_is_itself() -> None:
    mask = np.random.default_rng(0).random((13, 17)) < 0.2
    np.testing.assert_array_equal(mask_to_prepared(mask, Image(np.zeros((1, 13, 17), dtype=np.float32))), mask)


def test_marks_follow_a_mirrored_image() -> None:
    image = Image(np.zeros((1, 4, 10), dtype=np.float32))
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = 9
    mirrored = image.with_pixels(image.pixels[:, :, ::-1], by="mirror", index_map=mirror)
    np.testing.assert_allclose(boxes_to_prepared(np.array([[1, 0, 3, 2]]), mirrored), [[7, 0, 9, 2]])
    mask = rectangle(image.shape, (1, 0, 3, 2))
    np.testing.assert_array_equal(mask_to_prepared(mask, mirrored), mask[:, ::-1])


def test_a_turned_image_a_volume_and_a_mask_of_another_shape_are_refused() -> None:
    image = Image(np.zeros((1, 5, 5), dtype=np.float32))
    turn = np.eye(4)[[1, 0, 2, 3]]
    with pytest.raises(InputError, match="turned"):
        boxes_to_prepared(np.zeros((1, 4)), image.with_pixels(image.pixels, by="turn", index_map=turn))
    with pytest.raises(InputError, match="volume"):
        boxes_to_original(np.zeros((1, 4)), Image(np.zeros((1, 2, 5, 5), dtype=np.float32)))
    with pytest.raises(InputError, match="shape"):
        mask_to_prepared(np.ones((5, 6), dtype=bool), image)


def test_a_box_outside_the_crop_has_no_area_left() -> None:
    pixels = np.zeros((1, 20, 20), dtype=np.float32)
    pixels[0, 10:15, 10:15] = 1
    prepared = prepare(Image(pixels), [step_from({"step": "crop-foreground"})])
    left, top, right, bottom = boxes_to_prepared(np.array([[0, 0, 5, 5]]), prepared)[0]
    assert (right - left) * (bottom - top) == 0
    assert masks_to_prepared([Mask.from_array(rectangle((20, 20), (0, 0, 5, 5)))], prepared)[0][2].size == 0
    assert boxes_to_prepared(np.zeros((0, 4)), prepared).shape == (0, 4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1))
def test_a_mask_is_cut_and_joined_again_without_a_change(seed: int, rows: int, columns: int, density: float) -> None:
    array = np.random.default_rng(seed).random((rows, columns)) < density
    mask = Mask.from_array(array)
    left, top, bitmap = crop_of(mask)
    whole = np.zeros((rows, columns), dtype=bool)
    whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
    np.testing.assert_array_equal(whole, array)
    assert mask_from_crop(bitmap, left, top, (rows, columns)) == mask


def test_long_runs_survive_the_cut() -> None:
    array = np.zeros((3000, 2000), dtype=bool)
    array[7:2990, 500:1500] = True
    array[1000, 700] = False
    left, top, bitmap = crop_of(Mask.from_array(array))
    assert (left, top) == (500, 7)
    np.testing.assert_array_equal(bitmap, array[7:2990, 500:1500])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_a_pasted_mask_lies_in_its_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, top = rng.uniform(0, 40, 2)
    width, height = rng.uniform(0.1, 30, 2)
    mask = paste_mask(rng.random((28, 28)), (left, top, left + width, top + height), (50, 60))
    assert mask.area_px >= 1
    box = mask.box
    assert box[0] >= np.floor(left)
    assert box[1] >= min(np.floor(top), 49)
    assert box[2] <= np.ceil(left + width)
    assert box[3] <= np.ceil(top + height)


def test_a_certain_mask_fills_its_box_and_a_half_one_its_half() -> None:
    full = paste_mask(np.ones((28, 28)), (10, 20, 40, 30), (50, 60)).to_array()
    np.testing.assert_array_equal(full, rectangle((50, 60), (10, 20, 40, 30)))
    cells = np.zeros((28, 28))
    cells[:, :14] = 1
    half = paste_mask(cells, (10, 20, 40, 30), (50, 60)).to_array()
    np.testing.assert_array_equal(half, rectangle((50, 60), (10, 20, 25, 30)))


def test_pasting_agrees_with_an_independent_resampling() -> None:
    from scipy import ndimage

    rng = np.random.default_rng(5)
    cells = ndimage.gaussian_filter(rng.random((14, 14)), 1.5) * 1.2
    left, top, right, bottom = 5.3, 7.8, 33.1, 24.2
    rows, columns = np.indices((30, 40)) + 0.5
    at = [(rows - top) / (bottom - top) * 14 - 0.5, (columns - left) / (right - left) * 14 - 0.5]
    values = ndimage.map_coordinates(np.pad(cells, 1), [at[0] + 1, at[1] + 1], order=1, cval=0)
    mask = paste_mask(cells, (left, top, right, bottom), (30, 40)).to_array()
    sure = abs(values - 0.5) > 1e-9
    np.testing.assert_array_equal(mask[sure], (values >= 0.5)[sure])


def test_a_mask_too_small_for_a_pixel_keeps_the_one_under_it() -> None:
    tiny = paste_mask(np.ones((28, 28)), (10.6, 20.6, 10.9, 20.9), (50, 60))
    assert tiny.box == (10, 20, 11, 21)
    unsure = paste_mask(np.full((28, 28), 0.2), (10, 20, 20, 30), (50, 60))
    assert unsure.area_px == 1


def test_hundreds_of_instances_are_quick() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 950, (300, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 50, (300, 2))], axis=1)
    cells = rng.random((28, 28))
    image = prepare(Image(np.zeros((1, 1000, 1000), dtype=np.float32)), [step_from({"step": "resize", "factor": 0.8})])
    start = time.perf_counter()
    masks = [paste_mask(cells, box, (1000, 1000)) for box in boxes]
    pasted = time.perf_counter() - start
    placed = masks_to_prepared(masks, image)
    total = time.perf_counter() - start
    assert len(placed) == 300
    assert pasted < 2  # about 0.1 s; encoding each mask in the whole image takes a second and more
    assert total - pasted < 2


@given(st.integers(1, 40), st.integers(1, 40))
def test_scores_of_resized_slices_come_back_to_the_slices_that_they_were_made_of(old: int, new: int) -> None:
    volume = Image(np.broadcast_to(np.arange(old, dtype=np.float32)[:, None, None], (1, old, 6, 6)))
    prepared = prepare(volume, [step_from({"step": "resize", "height": 6, "width": 6, "slices": new})])
    depths = prepared.pixels[0, :, 3, 3][:, None]  # what each prepared slice shows, as its "score"
    back = slices_to_original(depths, prepared)
    assert back.shape == (old, 1)
    assert not np.isnan(back).any()
    assert (np.diff(back[:, 0]) >= -1e-4).all()
    if new >= old:
        assert back[:, 0] == pytest.approx(np.arange(old), abs=0.51)


def test_slices_that_were_cut_away_have_no_score_and_the_others_keep_theirs() -> None:
    pixels = np.zeros((1, 10, 8, 8), dtype=np.float32)
    pixels[:, 3:7, 2:6, 2:6] = 1
    prepared = prepare(Image(pixels), [step_from({"step": "crop-foreground", "slices": True})])
    assert prepared.shape[0] == 4
    back = slices_to_original(np.array([[0.1], [0.2], [0.3], [0.4]]), prepared)[:, 0]
    assert np.isnan(back[[0, 1, 2, 7, 8, 9]]).all()
    assert back[3:7].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_scores_of_flat_images_and_of_untouched_slices_stay_as_they_are() -> None:
    scores = np.array([[0.1, 0.9], [0.4, 0.6]])
    assert slices_to_original(scores, Image(np.zeros((1, 2, 4, 4)))).tolist() == scores.tolist()
    assert slices_to_original(scores[:1], Image(np.zeros((1, 4, 4)))).tolist() == scores[:1].tolist()
