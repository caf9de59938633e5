"""The arrays of MedMNIST: images and labels of each split in one `.npz` file."""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from overread.data.manifest import Case, ImageRef, Manifest, Split, Task
from overread.data.sources.source import Source, sources
from overread.errors import SourceError
from overread.io.npz import array_header

# Yang et al., Scientific Data 10:41 (2023): the meaning of the numbers is not in the files
_CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "breastmnist": ("malignant", "normal or benign"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "adrenalmnist3d": ("normal", "hyperplasia"),
}
_SPLITS: tuple[Split, ...] = get_args(Split)
_MAX_LABELS = 10_000_000  # about six times those of the largest MedMNIST
_Header = tuple[tuple[int, ...], np.dtype[Any]]


@sources.add("medmnist")
class MedMnist(Source):
    """`train_images`, `train_labels` and the same for val and test; any of the three splits may be absent.

    Images are grey `(case, row, column)`, colour `(case, row, column, 3)` or grey volumes
    `(case, slice, row, column)`. Labels are `(case, 1)` integers, or `(case, label)` of 0 and 1.
    """

    layout = "an .npz file with arrays named train_images and train_labels (or val_, test_)"

    def recognises(self, path: Path) -> bool:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as file:
            return bool(_splits_in([name.removesuffix(".npy") for name in file.namelist()]))

    def read(self, path: Path) -> Manifest:
        labels, shapes = _load(path)
        widths = {array.shape[1] for array in labels.values()}
        if not labels or len(widths) != 1 or len(shapes) != 1:
            raise SourceError(
                f"{path}: the same number of labels and the same image shape in every split are expected; "
                f"found {sorted(widths)} labels and shapes {sorted(shapes)}."
            )
        several = widths.pop() > 1
        together = np.concatenate(list(labels.values()))
        values = list(range(together.shape[1])) if several else sorted(set(together[:, 0].tolist()))
        names = _class_names(path.stem, values)
        if several and not np.isin(together, (0, 1)).all():
            raise SourceError(f"{path}: several labels an image are 0 or 1; found {np.unique(together)[:5].tolist()}.")
        cases = []
        for split, table in labels.items():
            for index, row in enumerate(table.tolist()):
                case_id = f"{split}_{index:06d}"
                present = [bool(value) for value in row] if several else [row[0] == value for value in values]
                cases.append(
                    Case(
                        case_id,
                        case_id,
                        (ImageRef(path, f"{split}_images[{index}]"),),
                        labels=dict(zip(names, present, strict=True)),
                        split=split,
                    )
                )
        cases.sort(key=lambda case: case.case_id)
        task: Task = "multi-label" if several else "single-label"
        return Manifest(path.stem, "medmnist", task, names, tuple(cases))


def _splits_in(names: list[str]) -> list[Split]:
    return [split for split in _SPLITS if f"{split}_images" in names and f"{split}_labels" in names]


def _load(path: Path) -> tuple[dict[Split, NDArray[np.int64]], set[tuple[int, ...]]]:
    """The labels `(case, label)` of each split, and the shapes of an image: images may be large, and stay unread."""
    try:
        with np.load(path, allow_pickle=False) as file:
            splits = _splits_in(file.files)
            headers = {
                split: [array_header(path, f"{split}_{what}") for what in ("images", "labels")] for split in splits
            }
            for split, (images, labels) in headers.items():
                _check(path, split, images, labels)
            tables = {split: file[f"{split}_labels"].astype(np.int64) for split in splits}
    except SourceError:
        raise
    except Exception as error:  # damaged zip, damaged array, or a pickled object
        raise SourceError(f"{path}: arrays of numbers in .npz are expected; it cannot be read ({error}).") from error
    return (
        {split: table[:, None] if table.ndim == 1 else table for split, table in tables.items()},
        {images[0][1:] for images, _ in headers.values()},
    )


def _check(path: Path, split: Split, images: _Header, labels: _Header) -> None:
    """Refuse arrays that do not go together by their headers, before memory is given to the labels."""
    shape, dtype = images
    if len(shape) not in (3, 4) or dtype.kind not in "uif" or 0 in shape[1:]:
        raise SourceError(
            f"{path}: {split}_images is expected as (case, row, column), (case, row, column, 3) or (case, slice, row, "
            f"column) numbers; found {dtype} {shape}."
        )
    table, kind = labels
    if len(table) not in (1, 2) or 0 in table[1:] or kind.kind not in "uib":
        raise SourceError(
            f"{path}: {split}_labels is expected as (case, 1) or (case, label) integers; found {kind} {table}."
        )
    if shape[0] != table[0]:
        raise SourceError(f"{path}: {split} has {shape[0]} images and {table[0]} labels; expected as many.")
    if math.prod(table) > _MAX_LABELS:
        raise SourceError(
            f"{path}: {split}_labels announces {math.prod(table):,} labels; up to {_MAX_LABELS:,} are read. Split the "
            "file."
        )


def _class_names(stem: str, values: list[int]) -> tuple[str, ...]:
    known = _CLASS_NAMES.get(re.sub(r"_\d+$", "", stem.lower()), ())  # breastmnist_224 is the larger breastmnist
    if set(values) <= set(range(len(known))):
        return tuple(known[value] for value in values)
    return tuple(str(value) for value in values)
