"""Run lengths of masks: of all instances of a label map in one pass, and out of COCO's compressed text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from overread.finding import Mask
from overread.io.reader import MAX_VALUES


def masks_of(label_map: NDArray[np.integer]) -> dict[int, Mask]:
    """One mask for each number in a label map.

    Args:
        label_map: `(row, column)` integers, 0 for the background.

    Returns:
        number -> mask, by rising number; equal to encoding `label_map == number` for each.

    >>> masks = masks_of(np.array([[0, 5], [2, 5]]))
    >>> [(number, mask.box) for number, mask in masks.items()]
    [(2, (0.0, 1.0, 1.0, 2.0)), (5, (1.0, 0.0, 2.0, 2.0))]
    """
    rows, columns = label_map.shape
    flat = label_map.ravel(order="F")  # COCO counts down the columns
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]])[: flat.size])
    numbers = flat[starts]
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(numbers, kind="stable")
    order = order[numbers[order] != 0]
    if order.size == 0:
        return {}
    numbers, starts, ends = numbers[order], starts[order], ends[order]
    # counts alternate: pixels before a run since the last one ended, pixels in the run
    first = np.concatenate([[True], numbers[1:] != numbers[:-1]])
    before = np.where(first, starts, starts - np.concatenate([[0], ends[:-1]]))
    counts = np.stack([before, ends - starts], axis=1)
    bounds = np.append(np.flatnonzero(first), len(numbers))
    uncompressed = []
    for low, high in pairwise(bounds):
        after = flat.size - int(ends[high - 1])
        tail = [after] if after else []
        uncompressed.append({"size": [rows, columns], "counts": [*counts[low:high].ravel().tolist(), *tail]})
    encoded = coco_mask.frPyObjects(uncompressed, rows, columns)
    return {
        int(number): Mask((rows, columns), runs["counts"]) for number, runs in zip(numbers[first], encoded, strict=True)
    }


def run_length_mask(counts: Any, shape: Any, size: tuple[int, int] | None) -> Mask:
    """A mask from COCO's RLE, checked before it is given to pycocotools, which believes what it is told.

    Args:
        counts: compressed text, or the lengths.
        shape: (row, column), as the RLE says.
        size: (row, column) of the image, where it is known.

    Raises:
        ValueError: for lengths that are none, or are not of such an image; TypeError, AttributeError likewise.
    """
    rows, columns = shape
    if (rows, columns) != (size or (rows, columns)) or min(rows, columns) < 1 or rows * columns > MAX_VALUES:
        raise ValueError(f"it is of {rows} x {columns} px, the image of {' x '.join(map(str, size or ('unknown',)))}")
    lengths = [int(count) for count in counts] if isinstance(counts, list) else run_lengths(counts.encode())
    if isinstance(counts, list) and lengths != counts:
        raise ValueError("the lengths are no whole numbers")
    if min(lengths, default=0) < 0 or sum(lengths) != rows * columns:
        raise ValueError("the lengths do not add up to the image")  # pycocotools would read beyond them
    return Mask.from_coco({"size": [rows, columns], "counts": lengths if isinstance(counts, list) else counts})


def run_lengths(counts: bytes) -> list[int]:
    """The lengths in COCO's compressed counts (maskApi's rleFrString), to check them before they are used.

    Raises:
        ValueError: text that is no compressed counts.

    >>> run_lengths(Mask.from_array(np.array([[0, 1], [0, 1]])).counts)
    [2, 2]
    """
    lengths: list[int] = []
    value = shift = 0
    for byte in counts:
        if not 48 <= byte < 112:
            raise ValueError(f"byte {byte} is none of COCO's compressed counts")
        value |= ((byte - 48) & 0x1F) << shift
        shift += 5
        if (byte - 48) & 0x20:
            continue
        if (byte - 48) & 0x10:
            value -= 1 << shift  # a negative difference
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the compressed counts end within a number")
    return lengths
