"""Steps that move pixels: size, place, padding and millimetres."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.errors import InputError
from overread.image import Geometry, Image
from overread.preprocessing import prepare
from overread.preprocessing.section import step_from

sides = st.integers(2, 60)


def corner_mm(image: Image, column: float, row: float) -> np.ndarray:
    assert image.geometry is not None
    return image.geometry.affine @ [column, row, 0, 1]


@settings(max_examples=40, deadline=None)
@given(rows=sides, columns=sides, height=sides, width=sides)
def test_an_image_is_fitted_inside_its_frame_and_keeps_its_proportions(
    rows: int, columns: int, height: int, width: int
) -> None:
    image = Image(np.full((1, rows, columns), 7, dtype=np.float32))
    after = step_from({"step": "resize", "height": height, "width": width, "pad_value": 0})(image)
    assert after.shape == (height, width)
    bright = after.pixels[0] > 6.99
    content = (int(bright.any(axis=1).sum()), int(bright.any(axis=0).sum()))
    assert bright.sum() == content[0] * content[1]
    assert content[0] == height or content[1] == width
    scale = min(height / rows, width / columns)
    assert abs(content[0] - rows * scale) <= 1
    assert abs(content[1] - columns * scale) <= 1


@settings(max_examples=40, deadline=None)
@given(rows=sides, columns=sides, factor=st.floats(0.1, 4))
def test_the_corners_of_the_patient_stay_where_they_are(rows: int, columns: int, factor: float) -> None:
    affine = np.array([[0.5, 0, 0, -100], [0, 0, 2, 30], [0, -0.7, 0, 12], [0, 0, 0, 1.0]])
    image = Image(np.zeros((1, rows, columns), dtype=np.float32), geometry=Geometry(affine))
    after = step_from({"step": "resize", "factor": factor})(image)
    height, width = after.shape
    np.testing.assert_allclose(corner_mm(after, -0.5, -0.5), corner_mm(image, -0.5, -0.5), atol=1e-9)
    np.testing.assert_allclose(
        corner_mm(after, width - 0.5, height - 0.5), corner_mm(image, columns - 0.5, rows - 0.5), atol=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(data=st.data(), margin=st.integers(0, 5))
def test_a_crop_is_the_box_around_what_is_bright(data: st.DataObject, margin: int) -> None:
    rows, columns = data.draw(st.integers(8, 40)), data.draw(st.integers(8, 40))
    top, left = data.draw(st.integers(0, rows - 2)), data.draw(st.integers(0, columns - 2))
    bottom, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, columns))
    pixels = np.zeros((1, rows, columns), dtype=np.float32)
    pixels[0, top:bottom, left:right] = 100
    image = Image(pixels, geometry=Geometry(np.diag([0.5, 0.5, 1, 1])))
    after = step_from({"step": "crop-foreground", "margin_px": margin})(image)
    if pixels.min() == 100:
        assert after.shape == image.shape
        return
    first_row, first_column = max(0, top - margin), max(0, left - margin)
    expected = pixels[:, first_row : bottom + margin, first_column : right + margin]
    np.testing.assert_array_equal(after.pixels, expected)
    np.testing.assert_allclose(corner_mm(after, 0, 0), corner_mm(image, first_column, first_row))


def test_enlarging_gives_the_values_between_pixel_centres() -> None:
    ramp = Image(np.arange(6, dtype=np.float32).reshape(1, 1, 6))
    after = step_from({"step": "resize", "factor": 2})(ramp)
    where = after.to_original[0, 0] * np.arange(12) + after.to_original[0, 3]
    np.testing.assert_allclose(after.pixels[0, 0], np.clip(where, 0, 5), atol=1e-5)


def test_shrinking_averages_so_that_fine_texture_does_not_alias() -> None:
    checks = Image((np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)[None])
    after = step_from({"step": "resize", "factor": 0.25})(checks)
    assert abs(after.pixels - 0.5).max() < 0.05


def test_padding_is_the_darkest_value_unless_said_otherwise() -> None:
    image = Image(np.array([[[-5.0, 3.0]]], dtype=np.float32))
    assert prepare(image, [step_from({"step": "resize", "height": 4, "width": 2})]).pixels[0, 0, 0] == -5
    chosen = step_from({"step": "resize", "height": 4, "width": 2, "pad_value": 9})
    assert chosen(image).pixels[0, 0, 0] == 9


def test_longest_caps_the_factor() -> None:
    image = Image(np.zeros((1, 30, 100), dtype=np.float32))
    assert step_from({"step": "resize", "factor": 4, "longest": 200})(image).shape == (60, 200)
    assert step_from({"step": "resize", "factor": 1.5, "longest": 200})(image).shape == (45, 150)


@pytest.mark.parametrize(
    "given",
    [{}, {"height": 5}, {"height": 5, "width": 5, "factor": 2}, {"height": 5, "width": 5, "longest": 9}, {"factor": 0}],
)
def test_a_size_that_is_said_twice_or_not_at_all_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Resize"):
        step_from({"step": "resize", **given})


def test_an_image_that_would_become_giant_is_refused_with_the_sizes() -> None:
    image = Image(np.ones((1, 3, 2000), dtype=np.float32))
    with pytest.raises(InputError, match="3 x 2000 would become 48 x 32000"):
        step_from({"step": "resize", "factor": 16})(image)


@st.composite
def placed_volumes(draw: st.DrawFn) -> Image:
    """Volumes that lie anywhere: oblique, mirrored, sheared as by a tilted gantry."""
    shape = tuple(draw(st.integers(1, 14)) for _ in range(3))
    angles = [draw(st.floats(-3.1, 3.1)) for _ in range(3)]
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (place for place in range(3) if place != axis)
        step = np.eye(3)
        step[[first, second], [first, second]] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    spacing = [draw(st.floats(0.2, 8)) * draw(st.sampled_from([1, -1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 2] += affine[:3, 1] * draw(st.floats(-0.5, 0.5))
    affine[:3, 3] = draw(st.floats(-300, 300)), 12, -7
    pixels = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return Image(pixels, geometry=Geometry(affine))


def outer_corners_mm(image: Image, content: tuple[slice, ...] | None = None) -> np.ndarray:
    """The eight outer corners of a volume, or of a part of it, in patient mm."""
    assert image.geometry is not None
    part = content or tuple(slice(0, side) for side in image.shape)
    ends = [(edges.start - 0.5, edges.stop - 0.5) for edges in part]
    corners = np.array([[column, row, slice_, 1] for slice_ in ends[0] for row in ends[1] for column in ends[2]])
    return (image.geometry.affine @ corners.T)[:3].T


@settings(max_examples=60, deadline=None)
@given(
    volume=placed_volumes(), height=st.integers(1, 30), width=st.integers(1, 30), slices=st.none() | st.integers(1, 30)
)
def test_the_corners_of_a_resized_volume_stay_where_they_are_in_the_patient(
    volume: Image, height: int, width: int, slices: int | None
) -> None:
    constant = Image(np.full_like(volume.pixels, 7), geometry=volume.geometry)
    step = step_from({"step": "resize", "height": height, "width": width, "slices": slices, "pad_value": 0})
    after = step(constant)
    assert after.shape == (volume.shape[0] if slices is None else slices, height, width)
    bright = after.pixels[0] > 6.99
    rows, columns = np.flatnonzero(bright.any(axis=(0, 2))), np.flatnonzero(bright.any(axis=(0, 1)))
    content = slice(0, len(bright)), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    assert bright.sum() == np.prod([edges.stop - edges.start for edges in content])
    np.testing.assert_allclose(outer_corners_mm(after, content), outer_corners_mm(volume), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(volume=placed_volumes(), along=st.booleans(), data=st.data())
def test_a_cropped_volume_keeps_every_value_in_its_place(volume: Image, along: bool, data: st.DataObject) -> None:
    lit = tuple(data.draw(st.integers(0, side - 1)) for side in volume.shape)
    other = tuple(data.draw(st.integers(0, side - 1)) for side in volume.shape)
    pixels = np.zeros_like(volume.pixels)
    pixels[0][lit] = pixels[0][other] = 100
    image = Image(pixels, geometry=volume.geometry)
    after = step_from({"step": "crop-foreground", "slices": along})(image)
    if pixels.min() == 100:
        assert after.shape == image.shape
        return
    low, high = np.minimum(lit, other), np.maximum(lit, other) + 1
    if not along:
        low[0], high[0] = 0, volume.shape[0]
    np.testing.assert_array_equal(after.pixels[0], pixels[0, low[0] : high[0], low[1] : high[1], low[2] : high[2]])
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    np.testing.assert_allclose(outer_corners_mm(after), outer_corners_mm(image, box), atol=1e-6)


def test_more_slices_have_the_values_between_them() -> None:
    ramp = Image(np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1))
    after = step_from({"step": "resize", "factor": 1, "slices": 12})(ramp)
    where = after.to_original[2, 2] * np.arange(12) + after.to_original[2, 3]
    np.testing.assert_allclose(after.pixels[0, :, 0, 0], np.clip(where, 0, 5), atol=1e-5)


def test_fewer_slices_average_so_that_a_texture_along_them_does_not_alias() -> None:
    stripes = Image((np.arange(64) % 2).astype(np.float32).reshape(1, 64, 1, 1).repeat(3, axis=2))
    after = step_from({"step": "resize", "factor": 1, "slices": 16})(stripes)
    assert abs(after.pixels - 0.5).max() < 0.05


def test_a_cube_becomes_a_larger_cube() -> None:
    cube = Image(np.random.default_rng(0).normal(size=(2, 28, 28, 28)).astype(np.float32))
    after = step_from({"step": "resize", "height": 32, "width": 32, "slices": 32})(cube)
    assert after.shape == (32, 32, 32)
    turned = step_from({"step": "resize", "height": 32, "width": 32, "slices": 32})(
        Image(np.ascontiguousarray(cube.pixels.transpose(0, 3, 2, 1)))
    )
    np.testing.assert_allclose(after.pixels, turned.pixels.transpose(0, 3, 2, 1), atol=1e-5)  # no axis is special


@pytest.mark.parametrize(
    "settings_", [{"step": "resize", "height": 9, "width": 11}, {"step": "median-denoise", "size": 5}]
)
def test_a_slice_of_a_volume_is_prepared_as_if_it_were_alone(settings_: dict[str, object]) -> None:
    volume = Image(np.random.default_rng(0).normal(size=(2, 4, 13, 17)).astype(np.float32))
    low = float(volume.pixels.min())
    step = step_from(settings_ | ({"pad_value": low} if settings_["step"] == "resize" else {}))
    for number, slice_ in enumerate(np.moveaxis(step(volume).pixels, 1, 0)):
        np.testing.assert_array_equal(slice_, step(Image(volume.pixels[:, number])).pixels)


def test_a_volume_that_would_become_giant_is_refused_with_the_sizes() -> None:
    with pytest.raises(InputError, match=r"\(1, 9000, 9000, 9000\)"):
        step_from({"step": "resize", "height": 9000, "width": 9000, "slices": 9000})(Image(np.ones((1, 2, 2, 2))))
