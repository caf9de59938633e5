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
