"""Which images show nearly the same picture."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from overread.data.leaks import near_pairs
from overread.data.near_copies import near_copies, thumbnail_of
from overread.data.phantom import write_phantom
from overread.data.problems import facts_of
from overread.data.sources import open_data
from overread.image import Image, Source


def _image(pixels: np.ndarray) -> Image:
    return Image(pixels=np.asarray(pixels, np.float32)[None], source=Source("made"))


def _thumbnails(*pictures: np.ndarray) -> list[bytes]:
    return [thumbnail_of(_image(pixels)) for pixels in pictures]


def _drawn(seed: int, side: int = 96) -> np.ndarray:
    """Blobs of several sizes, 0 to 255."""
    rng, place = np.random.default_rng(seed), np.mgrid[:side, :side]
    pixels = np.zeros((side, side))
    for _ in range(12):
        row, column, radius = *rng.uniform(0, side, 2), rng.uniform(side / 20, side / 5)
        pixels += rng.uniform(0.2, 1) * np.exp(-((place[0] - row) ** 2 + (place[1] - column) ** 2) / (2 * radius**2))
    return pixels / pixels.max() * 255


def _as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Picture.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=60)
    return np.asarray(Picture.open(file))


def _with_a_dotted_line(pixels: np.ndarray) -> np.ndarray:
    """As a sonographer leaves it who measured something."""
    marked = pixels.copy()
    marked[48, 20:76:6] = 255
    return marked


@pytest.mark.parametrize(
    "changed",
    [
        lambda pixels: pixels,
        lambda pixels: 0.5 * pixels + 40,
        lambda pixels: 255 * (pixels / 255) ** 0.8,
        _as_jpeg,
        lambda pixels: pixels[::2, ::2],
        _with_a_dotted_line,
    ],
    ids=["equal", "brightness", "gamma", "jpeg", "half the size", "a dotted line"],
)
def test_a_changed_copy_is_found_among_others(changed) -> None:
    others = [_drawn(seed) for seed in range(30)]
    assert near_copies(_thumbnails(*others)) == []
    assert near_copies(_thumbnails(*others, changed(others[7]))) == [(7, 30)]


def _small(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Picture.fromarray(pixels.astype(np.uint8)).resize((28, 28), Picture.Resampling.BILINEAR))


def _with(value: int, *place: int | slice) -> Callable[[np.ndarray], np.ndarray]:
    def changed(pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.copy()
        pixels[place] = value
        return pixels

    return changed


@pytest.mark.parametrize(
    "changed",
    [
        _with(0, 14, 14),
        _with(255, 14, 14),
        _with(255, 1, 1),
        _with(255, slice(2, 6), 2),
        lambda pixels: pixels[:, ::-1],
        lambda pixels: pixels[::-1],
        np.rot90,
        lambda pixels: np.rot90(pixels, -1),
        lambda pixels: 0.8 * pixels[::-1, ::-1] + 10,
        lambda pixels: _with(255, 1, 1)(pixels[:, ::-1]),
    ],
    ids=[
        "a black pixel",
        "a white pixel",
        "a white pixel in the corner",
        "a stroke",
        "mirrored",
        "upside down",
        "turned left",
        "turned right",
        "turned about and darker",
        "mirrored and a white pixel",
    ],
)
def test_a_small_copy_is_found_that_a_few_pixels_tell_from_the_other_or_that_was_turned(changed) -> None:
    others = [_small(_drawn(seed)) for seed in range(30)]
    assert near_copies(_thumbnails(*others)) == []
    assert near_copies(_thumbnails(*others, changed(others[7]))) == [(7, 30)]
    assert near_copies(_thumbnails(changed(others[7]), *others)) == [(0, 8)]


def test_a_dark_image_is_like_its_copy_with_a_bright_letter() -> None:
    others = [0.4 * _drawn(seed) for seed in range(30)]
    assert near_copies(_thumbnails(*others, _with(255, slice(4, 12), slice(4, 6))(others[7]))) == [(7, 30)]


def test_what_lies_alone_in_an_empty_image_counts_although_it_covers_little() -> None:
    def alone(row: int, column: int, wide: int) -> np.ndarray:
        return _with(255, slice(row, row + 8), slice(column, column + wide))(np.zeros((96, 96)))

    assert near_copies(_thumbnails(alone(20, 30, 4), alone(20, 30, 12), alone(60, 10, 4), alone(44, 50, 8))) == []
    assert near_copies(_thumbnails(alone(20, 30, 4), 0.5 * alone(20, 30, 4))) == [(0, 1)]


@pytest.mark.parametrize("name", ["breastmnist", "pneumoniamnist"])
def test_real_copies_are_found_that_one_pixel_or_a_mirror_tells_from_the_other(real_data: Path, name: str) -> None:
    with np.load(real_data / "medmnist" / f"{name}.npz") as held:
        pictures = list(held["train_images"][:60])
    for changed in (_with(0, 14, 14), _with(255, 14, 14), _with(255, 1, 1), np.fliplr):
        found = near_copies(_thumbnails(*pictures, *map(changed, pictures)))
        assert {(number, 60 + number) for number in range(60)} <= {*found}


def test_images_that_show_nothing_are_like_none() -> None:
    assert near_copies(_thumbnails(np.zeros((20, 20)), np.full((20, 20), 9.0), np.zeros((8, 8)))) == []
    assert near_copies([]) == []


def test_a_volume_is_like_its_copy_and_not_like_another_with_the_same_middle() -> None:
    volumes = [np.stack([_drawn(100 * seed + number, 24) for number in range(12)]) for seed in range(3)]
    volumes.append(np.where(np.arange(12)[:, None, None] == 6, volumes[0], volumes[1]))
    assert near_copies(_thumbnails(*volumes, volumes[0] * 0.9)) == [(0, 4)]


def test_slices_of_different_patients_share_their_layout_and_are_no_copies(tmp_path: Path) -> None:
    slices = open_data(write_phantom(tmp_path / "ct", patients=20, slices=1, size=64).labels)
    assert near_pairs(slices, facts_of, {case.case_id: case.case_id for case in slices.cases}) == []


@pytest.mark.parametrize(("name", "expected"), [("breastmnist", 117), ("pneumoniamnist", 0), ("adrenalmnist3d", 0)])
def test_real_images_that_look_alike_by_kind_are_told_from_those_that_are_copies(
    real_data: Path, name: str, expected: int
) -> None:
    manifest = open_data(real_data / "medmnist" / f"{name}.npz")
    known = {case.images[0]: facts_of(case.images[0]) for case in manifest.cases}
    same = {case.case_id: known[case.images[0]].pixel_digest for case in manifest.cases}
    assert len(near_pairs(manifest, known.__getitem__, same)) == pytest.approx(expected, abs=2)
