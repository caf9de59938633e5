"""Run lengths of masks: of all instances of a label map in one pass, and out of COCO's compressed text."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from overread.finding import Mask


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
