"""The arrays of MedMNIST."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from overread.data.sources import open_data
from overread.errors import SourceError


def _images(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def test_known_data_sets_get_the_names_of_their_classes_in_every_size(tmp_path: Path):
    for name in ("breastmnist", "breastmnist_224"):
        np.savez(tmp_path / f"{name}.npz", train_images=_images(2, 5, 5), train_labels=np.array([[1], [0]]))
        manifest = open_data(tmp_path / f"{name}.npz")
        assert manifest.classes == ("malignant", "normal or benign")
        assert [case.label for case in manifest.cases] == ["normal or benign", "malignant"]
        assert manifest.cases[1].images[0].item == "train_images[1]"


@pytest.mark.parametrize("shape", [(3, 5, 6), (3, 5, 6, 3), (3, 4, 5, 6)])
def test_grey_colour_and_volumes_are_taken(tmp_path: Path, shape: tuple[int, ...]):
    np.savez(tmp_path / "x.npz", val_images=_images(*shape), val_labels=np.array([[10], [9], [9]], np.uint8))
    manifest = open_data(tmp_path / "x.npz")
    assert manifest.classes == ("9", "10")
    assert {case.split for case in manifest.cases} == {"val"}


def test_several_labels_an_image_are_several_labels(tmp_path: Path):
    np.savez(tmp_path / "x.npz", test_images=_images(2, 5, 6), test_labels=np.array([[0, 1], [1, 1]], np.uint8))
    manifest = open_data(tmp_path / "x.npz")
    assert manifest.task == "multi-label"
    assert manifest.cases[0].labels == {"0": False, "1": True}


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"train_images": _images(2, 5, 6), "train_labels": np.zeros((3, 1), int)}, "2 images and 3 labels"),
        ({"train_images": _images(2, 5), "train_labels": np.zeros((2, 1), int)}, "train_images is expected as"),
        ({"train_images": _images(2, 5, 6), "train_labels": np.zeros((2, 1))}, "integers"),
        ({"train_images": _images(2, 5, 6), "train_labels": np.full((2, 2), 7)}, "0 or 1"),
        ({"train_images": _images(2, 5, 6), "train_labels": np.array([[1], [{}]], object)}, "cannot be read"),
        (
            {
                "train_images": _images(1, 5, 6),
                "train_labels": np.zeros((1, 1), int),
                "val_images": _images(1, 5, 7),
                "val_labels": np.zeros((1, 1), int),
            },
            "same image shape",
        ),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], match: str):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(SourceError, match=match):
        open_data(tmp_path / "x.npz")


def test_labels_that_belong_to_no_images_are_refused_before_they_are_read(tmp_path: Path):
    np.savez_compressed(
        tmp_path / "x.npz", train_images=_images(4, 5, 6), train_labels=np.zeros((30_000_000, 1), np.uint8)
    )
    tracemalloc.start()
    with pytest.raises(SourceError, match="4 images and 30000000 labels"):
        open_data(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_more_labels_than_a_data_set_has_are_refused(tmp_path: Path):
    count = 11_000_000
    np.savez_compressed(tmp_path / "x.npz", train_images=_images(count, 1, 1), train_labels=np.zeros(count, np.uint8))
    with pytest.raises(SourceError, match="11,000,000 labels"):
        open_data(tmp_path / "x.npz")
