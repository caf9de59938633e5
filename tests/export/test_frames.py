"""The contact sheet of a volume or clip."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from overread.errors import InputError
from overread.export.frames import contact_sheet
from overread.image import Geometry, Image
from overread.io import read


def steps(count: int, shape: tuple[int, int] = (40, 60)) -> Image:
    """Frames of one grey each, every one brighter than the one before."""
    return Image(np.broadcast_to(np.arange(count, dtype=np.float32)[None, :, None, None], (1, count, *shape)))


def middles(picture: Picture.Image, across: int, down: int) -> np.ndarray:
    """The grey in the middle of each cell, row by row."""
    grey = np.asarray(picture.convert("L"))
    rows = [int((row + 0.5) * grey.shape[0] / down) for row in range(down)]
    columns = [int((column + 0.5) * grey.shape[1] / across) for column in range(across)]
    return grey[np.ix_(rows, columns)].ravel()


def test_frames_stand_in_rows_on_one_grey_scale() -> None:
    picture, how = contact_sheet(steps(6), side_px=720)
    found = middles(picture, 2, 3)
    assert (np.diff(found.astype(int)) > 30).all()
    assert (found[0], found[-1]) == (0, 255)
    assert how == "6 frames, grey values from the 1st to the 99th percentile"
    assert max(picture.size) == 720


def test_cells_left_over_are_paper() -> None:
    picture, _ = contact_sheet(Image(np.zeros((1, 5, 40, 60)), window=(500, 100)), side_px=720)
    assert middles(picture, 2, 3).tolist() == [0, 0, 0, 0, 0, 255]


def test_of_many_frames_every_kth_is_shown_and_named() -> None:
    picture, how = contact_sheet(steps(65, (30, 30)), most=6)
    assert how.startswith("frames 1, 12, 23 ... 56 of 65, ")
    assert len(set(middles(picture, 3, 2).tolist())) == 6
    assert contact_sheet(steps(65), most=2)[1].startswith("frames 1, 34 of 65, ")
    assert contact_sheet(steps(65), most=1)[1].startswith("frame 1 of 65, ")


def test_large_frames_are_averaged_before_they_are_laid_out() -> None:
    checks = np.indices((400, 400)).sum(axis=0) % 2 * 200.0
    picture, _ = contact_sheet(Image(np.stack([checks] * 4)[None], window=(100, 400)), side_px=200)
    assert max(picture.size) <= 220
    found = middles(picture, 2, 2)
    assert np.abs(found.astype(int) - 128).max() < 4


def test_frames_have_the_window_of_the_file_and_true_proportions() -> None:
    tall = Image(np.full((1, 1, 20, 20), 45.0), Geometry(np.diag([1, 2, 5, 1.0])), units="HU", window=(40.5, 100))
    picture, how = contact_sheet(tall, side_px=400)
    assert picture.size == (200, 400)
    assert how == "1 slice, window 40.5/100 HU"


def test_colour_stays_colour() -> None:
    red = np.zeros((3, 4, 30, 30))
    red[0] = 255
    picture, how = contact_sheet(Image(red), side_px=200)
    assert picture.getpixel((45, 45)) == (255, 0, 0)
    assert "colour as stored" in how


def test_a_flat_image_has_no_frames() -> None:
    with pytest.raises(InputError, match="flat"):
        contact_sheet(Image(np.zeros((1, 4, 4))))


@pytest.mark.data
def test_a_real_clip_fits_on_a_sheet(real_data: Path) -> None:
    clip = read(real_data / "dicom" / "burned_in_text" / "ultrasound_65_frames.dcm")
    picture, how = contact_sheet(clip)
    assert how == "frames 1, 4, 7 ... 64 of 65, colour as stored"
    assert max(picture.size) <= 1100
