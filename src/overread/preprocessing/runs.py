"""COCO run lengths of one region's own box, without unpacking the whole image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from overread.finding import Mask

Bitmap = NDArray[np.bool_]


def crop_of(mask: Mask) -> tuple[int, int, Bitmap]:
    """A mask cut to the smallest box around it.

    Returns:
        (left, top, `(row, column)` bitmap); an empty mask has a bitmap of shape (0, 0) at (0, 0).
    """
    left, top, right, bottom = (int(edge) for edge in mask.box)
    if right <= left or bottom <= top:
        return 0, 0, np.zeros((0, 0), dtype=bool)
    rows = mask.shape[0]
    # Columns lie one after the other, so those of the box are one stretch of the runs.
    ends = np.clip(np.cumsum(_lengths(mask.counts)), left * rows, right * rows)
    lengths = np.diff(ends, prepend=left * rows)
    inside = np.arange(len(lengths)) % 2 == 1
    columns = np.repeat(inside, lengths)
    stretch = np.zeros((right - left) * rows, dtype=bool)
    stretch[: len(columns)] = columns  # the last run of zeros may be left out
    return left, top, stretch.reshape(right - left, rows).T[top:bottom]


def mask_from_crop(bitmap: Bitmap, left: int, top: int, shape: tuple[int, int]) -> Mask:
    """A mask from a `(row, column)` bitmap that lies at (left, top), wholly inside an image of `shape`."""
    rows, columns = shape
    height, width = bitmap.shape
    stretch = np.zeros((width, rows), dtype=np.int8)
    stretch[:, top : top + height] = bitmap.T
    changes = np.flatnonzero(np.diff(stretch.ravel(), prepend=0, append=0)) + left * rows
    ends = changes if len(changes) and changes[-1] == rows * columns else np.append(changes, rows * columns)
    lengths = np.diff(ends, prepend=0)
    encoded = coco_mask.frPyObjects({"size": [rows, columns], "counts": lengths.tolist()}, rows, columns)
    return Mask(shape, encoded["counts"])


def _lengths(counts: bytes) -> NDArray[np.int64]:
    """The run lengths of COCO's compressed counts, the first of them outside.

    A number is little-endian groups of five bits in printable characters (48 + value, 32 set where more follow) with
    the sign in the last group's top bit; from the fourth on it is the difference to the run two before.
    """
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    last = (codes & 0x20) == 0
    number = np.cumsum(last) - last  # which number each character belongs to
    first = np.flatnonzero(np.concatenate(([True], last[:-1])))
    place = np.arange(len(codes)) - first[number]
    values = np.zeros(int(number[-1]) + 1, dtype=np.int64)
    np.add.at(values, number, (codes & 0x1F) << (5 * place))
    negative = last & ((codes & 0x10) != 0)
    values[number[negative]] -= np.int64(1) << (5 * (place[negative] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
