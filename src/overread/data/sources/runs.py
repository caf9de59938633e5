"""All instances of a label map as run lengths, in one pass over its pixels."""

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
