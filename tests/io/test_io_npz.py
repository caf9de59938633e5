"""Rows of arrays are images."""

import pickle
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from overread.errors import UnreadableImage
from overread.io import is_image, read


def archive(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "set.npz"
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 5, 7), (1, 5, 7)), ((3, 5, 7, 3), (3, 5, 7)), ((3, 5, 7, 9), (1, 5, 7, 9)), ((3, 4, 5, 7, 3), (3, 4, 5, 7))],
)
def test_a_row_is_grey_colour_or_a_volume(tmp_path: Path, shape: tuple, expected: tuple) -> None:
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    path = archive(tmp_path, images=array, labels=np.zeros(3))
    assert is_image(path)
    image = read(path, item="images[2]")
    assert image.pixels.shape == expected
    row = array[2]
    np.testing.assert_array_equal(image.pixels, np.moveaxis(row, -1, 0) if expected[0] == 3 else row[None])
    assert image.source.name == "set.npz:images[2]"


def test_the_only_array_needs_no_name(tmp_path: Path) -> None:
    assert read(archive(tmp_path, scan=np.ones((4, 6)))).shape == (4, 6)
    assert read(archive(tmp_path, scan=np.ones((4, 6))), item="scan").shape == (4, 6)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "images"),
        ("imagse[0]", "Did you mean 'images'"),
        ("images[3]", "3 rows"),
        ("images[-1]", "no array"),
        ("labels[0]", "shape"),
        ("wide", "shape"),
    ],
)
def test_a_wrong_item_is_answered_with_what_is_there(tmp_path: Path, item: str | None, said: str) -> None:
    path = archive(tmp_path, images=np.zeros((3, 5, 7)), labels=np.zeros(3), wide=np.zeros((2, 2, 2, 2, 2)))
    with pytest.raises(UnreadableImage, match=said):
        read(path, item=item)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    assert pickle.dumps(Trap())
    path = archive(tmp_path, images=np.array([Trap()], dtype=object))
    with pytest.raises(UnreadableImage, match="numbers"):
        read(path, item="images[0]")
    assert not (tmp_path / "sprung").exists()


def test_a_header_that_announces_more_than_is_held_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as zipped, zipped.open("images.npy", "w") as member:
        npy.write_array_header_1_0(member, {"shape": (10**6, 10**6), "fortran_order": False, "descr": "|u1"})
        member.write(b"\0" * 100)
    with pytest.raises(UnreadableImage, match="announces 1,000,000,000,000 bytes"):
        read(path, item="images[0]")


@pytest.mark.parametrize(
    ("shape", "item", "said"),
    [
        ((20_000, 20_000), None, "400,000,000"),
        ((1, 20_000, 20_000), "images[0]", "400,000,000"),
        ((20_000, 20_000), "images[0]", "shape"),
    ],
)
def test_an_image_too_large_to_be_one_is_refused_by_its_header(
    tmp_path: Path, shape: tuple[int, ...], item: str | None, said: str
) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped, zipped.open("images.npy", "w") as member:
        npy.write_array_header_1_0(member, {"shape": shape, "fortran_order": False, "descr": "|u1"})
        for _ in range(400):
            member.write(bytes(1_000_000))
    tracemalloc.start()
    with pytest.raises(UnreadableImage, match=said):
        read(path, item=item)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = archive(tmp_path, images=np.zeros((2, 3, 3)))
    first = read(path, item="images[0]")
    archive(tmp_path, images=np.ones((2, 3, 4)))
    second = read(path, item="images[0]")
    assert first.shape != second.shape
    assert first.source.sha256 != second.source.sha256


@pytest.mark.data
def test_thousands_of_rows_are_read_quickly_and_right(real_data: Path) -> None:
    path = real_data / "medmnist" / "pneumoniamnist.npz"
    whole = np.load(path, allow_pickle=False)["train_images"]
    start = time.perf_counter()
    for row in range(0, 4708, 4):
        np.testing.assert_array_equal(read(path, item=f"train_images[{row}]").pixels[0], whole[row])
    assert time.perf_counter() - start < 5
    volume = read(real_data / "medmnist" / "adrenalmnist3d.npz", item="val_images[3]")
    assert volume.pixels.shape == (1, 28, 28, 28)
