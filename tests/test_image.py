import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from overread.errors import InputError
from overread.image import Geometry, Image, Source

number = st.floats(-100, 100)
spacings = st.tuples(*[st.floats(0.1, 10)] * 3)
axes = st.permutations([0, 1, 2])
signs = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)


def along_axes(spacing: tuple[float, ...], order: list[int], sign: tuple[float, ...]) -> Geometry:
    """A geometry whose index axes run along the patient's."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index_axis, patient_axis in enumerate(order):
        affine[patient_axis, index_axis] = spacing[index_axis] * sign[index_axis]
    return Geometry(affine)


@settings(max_examples=40)
@given(spacings, axes, signs)
def test_spacing_does_not_depend_on_how_an_image_lies(
    spacing: tuple[float, ...], order: list[int], sign: tuple[float, ...]
) -> None:
    geometry = along_axes(spacing, order, sign)
    assert geometry.spacing_mm == pytest.approx(spacing)
    letters = "".join((("LR", "PA", "SI")[axis])[int(way < 0)] for axis, way in zip(order, sign, strict=True))
    assert geometry.orientation == letters


@pytest.mark.parametrize(
    "affine",
    [np.eye(3), np.full((4, 4), np.nan), np.diag([1.0, 1, 0, 1]), np.diag([1.0, 1, 1, 2]), np.eye(4) + np.eye(4)[::-1]],
)
def test_an_affine_that_spans_no_volume_is_refused(affine: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="affine"):
        Geometry(affine)


@pytest.mark.parametrize("shape", [(5, 5), (0, 5, 5), (1, 1, 1, 1, 1), (1, 0, 5, 5)])
def test_an_image_without_the_right_axes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"scan\.png.*found shape"):
        Image(np.zeros(shape, dtype=np.float32), source=Source("scan.png"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_holds_finite_numbers(value: float) -> None:
    with pytest.raises(InputError, match="finite"):
        Image(np.full((1, 2, 2), value, dtype=np.float32))


def test_an_image_does_not_change() -> None:
    ours = np.zeros((1, 2, 3), dtype=np.float32)
    image = Image(ours, geometry=Geometry(np.eye(4)))
    ours[:] = 5
    assert image.pixels.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        image.geometry.affine[0, 0] = 2  # type: ignore[union-attr]
    with pytest.raises(dataclasses.FrozenInstanceError):
        image.units = "HU"  # type: ignore[misc]


@settings(max_examples=40)
@given(arrays(np.float64, (3,), elements=number), st.integers(0, 5), st.integers(0, 5), st.floats(0.25, 4))
def test_a_place_in_the_patient_stays_where_it_is_through_every_step(
    origin: NDArray[np.float64], left: int, top: int, scale: float
) -> None:
    affine = np.diag([0.5, 0.7, 3.0, 1.0])
    affine[:3, 3] = origin
    image = Image(np.zeros((1, 20, 30), dtype=np.float32), geometry=Geometry(affine))
    cut = np.eye(4)
    cut[:2, 3] = (left, top)
    zoom = np.diag([scale, scale, 1.0, 1.0])
    after = image.with_pixels(np.zeros((1, 5, 6)), by="cut", index_map=cut).with_pixels(
        np.zeros((1, 2, 2)), by="zoom", index_map=zoom
    )
    index = np.array([1.0, 1.0, 0.0, 1.0])
    assert after.geometry is not None
    assert image.geometry is not None
    original = after.to_original @ index
    np.testing.assert_allclose(original[:2], (left + scale, top + scale))
    np.testing.assert_allclose(after.geometry.affine @ index, image.geometry.affine @ original)
    assert after.original_shape == (20, 30)
    assert after.history == ("cut", "zoom")


def test_pixels_that_moved_need_to_say_how() -> None:
    with pytest.raises(ValueError, match="index_map"):
        Image(np.zeros((1, 4, 4))).with_pixels(np.zeros((1, 2, 2)), by="crop")


def test_a_window_ends_with_the_units_that_it_is_in() -> None:
    image = Image(np.zeros((1, 4, 4)), units="HU", window=(40.0, 400.0))
    assert image.with_pixels(image.pixels, by="denoise").window == (40.0, 400.0)
    assert image.with_pixels(image.pixels, by="min-max", units="normalised").window is None


def test_a_volume_and_a_colour_picture_know_their_shape() -> None:
    assert Image(np.zeros((1, 7, 4, 5))).shape == (7, 4, 5)
    assert Image(np.zeros((3, 4, 5))).channels == 3


@pytest.mark.parametrize(
    ("index_map", "expected"),
    [
        (np.diag([2.0, 2, 1, 1]), ("L", "F")),
        (np.diag([-1.0, 1, 1, 1]), None),
        (np.eye(4)[[1, 0, 2, 3]], None),
    ],
)
def test_stated_sides_are_kept_until_the_pixels_are_mirrored_or_turned(
    index_map: NDArray[np.float64], expected: tuple[str, str] | None
) -> None:
    image = Image(np.zeros((1, 4, 4), dtype=np.float32), sides=("L", "F"))
    assert image.with_pixels(image.pixels, by="moved", index_map=index_map).sides == expected


def test_a_mirrored_image_with_a_place_knows_its_sides_anew() -> None:
    image = Image(np.zeros((1, 4, 4), dtype=np.float32), geometry=Geometry(np.eye(4)))
    assert image.sides == ("L", "P")
    mirrored = image.with_pixels(image.pixels[:, :, ::-1], by="mirrored", index_map=np.diag([-1.0, 1, 1, 1]))
    assert mirrored.sides == ("R", "P")


def test_a_plane_whose_two_directions_are_nearest_to_one_axis_has_no_sides() -> None:
    column, row = np.array([0.6, 0.57, 0.56]), np.array([0.72, -0.5, -0.48])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([column, row, np.cross(column, row)], axis=1)
    assert Geometry(affine).sides is None
