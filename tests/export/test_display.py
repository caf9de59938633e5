from pathlib import Path

import numpy as np
import pytest

from overread.export.display import shown
from overread.image import Geometry, Image
from overread.io import read


def grey_of(image: Image) -> list[int]:
    return np.asarray(shown(image).picture)[..., 0].ravel().tolist()


def ct(values: list[float], window: tuple[float, float] | None = None) -> Image:
    return Image(np.array([[values]], dtype=np.float32), units="HU", modality="CT", window=window)


def test_ct_without_a_window_is_shown_in_a_soft_tissue_window() -> None:
    image = ct([-1000, -161, 39.5, 240, 3000])
    assert grey_of(image) == [0, 0, 128, 255, 255]
    assert "40/400 HU" in shown(image).how


def test_the_window_of_the_file_goes_first() -> None:
    image = ct([-1351, -600.5, 150], window=(-600, 1500))
    assert grey_of(image) == [0, 128, 255]
    assert "-600/1500" in shown(image).how


def test_an_inversion_is_said_with_the_window_of_the_file() -> None:
    turned = Image(
        np.arange(12.0).reshape(1, 3, 4),
        window=(923, 50),
        history=("MONOCHROME1 inverted; window 100/50 of the file",),
    )
    assert shown(turned).how == "MONOCHROME1 inverted; window 100/50 of the file"
    without = Image(turned.pixels, history=("MONOCHROME1 inverted",))
    assert shown(without).how == "grey values from the 1st to the 99th percentile; MONOCHROME1 inverted"


def test_other_grey_images_are_stretched_without_their_extremes() -> None:
    values = np.full((1, 100, 100), 100.0)
    values[0, :, 50:] = 200
    values[0, 0, 0], values[0, 0, 99] = -30000, 30000
    pixels = np.asarray(shown(Image(values)).picture)
    assert pixels[50, 10].tolist() == [0, 0, 0]
    assert pixels[50, 90].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("top", "scale"), [(255, 1), (65535, 257)])
def test_colour_is_shown_as_it_is(top: int, scale: int) -> None:
    colours = np.array([[255, 0], [128, 7], [10, 200]], dtype=np.float32).reshape(3, 1, 2) * scale
    assert np.asarray(shown(Image(colours)).picture).tolist() == [[[255, 128, 10], [0, 7, 200]]]


def test_grey_stored_as_colour_is_shown_like_any_other_grey() -> None:
    dark = np.random.default_rng(0).integers(0, 9, (1, 40, 40)).astype(np.float32)
    as_colour, as_grey = shown(Image(dark.repeat(3, axis=0))), shown(Image(dark))
    assert as_colour.picture.tobytes() == as_grey.picture.tobytes()
    assert as_colour.how == f"grey stored as colour, {as_grey.how}"


def test_one_coloured_pixel_makes_a_picture_one_in_colour() -> None:
    nearly = np.full((3, 4, 4), 7, dtype=np.float32)
    nearly[2, 1, 1] = 90
    view = shown(Image(nearly))
    assert view.how == "colour as stored"
    assert np.asarray(view.picture)[1, 1].tolist() == [7, 7, 90]


@pytest.mark.data
def test_real_fluorescence_stored_as_rgba_is_not_shown_black(real_data: Path) -> None:
    whole = real_data / "dsb2018_original_layout"
    dark = next(whole.glob("00071198*/images/*.png"))
    stained = next(whole.glob("00ae65c1*/images/*.png"))
    assert np.percentile(np.asarray(shown(read(dark)).picture), 99) == 255
    assert shown(read(stained)).how == "colour as stored"


def test_an_image_of_one_value_is_shown_and_said_so() -> None:
    view = shown(Image(np.zeros((1, 4, 4))))
    assert view.how == "all pixels are equal"


def test_of_a_volume_the_middle_slice_is_shown_and_named() -> None:
    volume = np.zeros((1, 5, 4, 4))
    volume[0, 2, :, 2:] = 1
    view = shown(Image(volume))
    assert "slice 3 of 5" in view.how
    assert np.asarray(view.picture).max() == 255


def test_small_images_are_enlarged_so_that_pixels_are_seen_as_they_are() -> None:
    image = Image(np.arange(9, dtype=np.float32).reshape(1, 3, 3))
    large = np.asarray(shown(image).sized(30))
    assert large.shape == (30, 30, 3)
    small = np.asarray(shown(image).picture)
    assert (large == small.repeat(10, axis=0).repeat(10, axis=1)).all()


def test_large_images_are_made_smaller() -> None:
    assert max(shown(Image(np.eye(900)[None])).sized(300).size) == 300


def test_pixels_that_are_not_square_keep_the_proportions_of_the_body() -> None:
    geometry = Geometry(np.diag([0.5, 1.0, 1.0, 1.0]))  # a pixel is 0.5 mm wide and 1 mm high
    picture = shown(Image(np.eye(20)[None], geometry=geometry)).sized(200)
    assert picture.height == 2 * picture.width
