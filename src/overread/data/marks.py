"""The marks of a case in the grid of its prepared image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overread.data.manifest import Case
from overread.image import Image
from overread.preprocessing.placement import boxes_to_prepared, masks_to_prepared

Bitmap = tuple[int, int, NDArray[np.bool_]]
"""(left, top, pixels): a mask cut to its own box, in the prepared grid."""


@dataclass(frozen=True, eq=False)
class PreparedMarks:
    """The marks of one case in the grid of its prepared image.

    Args:
        boxes: `(mark, 4)` as (left, top, right, bottom) in pixels, none without area.
        classes: `(mark,)` index into the classes.
        bitmaps: one a mark, or None where the data set has boxes only.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    bitmaps: tuple[Bitmap, ...] | None


def _bitmap_box(bitmap: Bitmap) -> tuple[int, int, int, int]:
    left, top, pixels = bitmap
    if not pixels.any():
        return left, top, left, top
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1


def prepared_marks(case: Case, image: Image, classes: Sequence[str], *, masks: bool) -> PreparedMarks:
    """Where the marks of a case lie in its prepared image; those that were cropped away are left out."""
    regions = [(mark.region, classes.index(mark.label)) for mark in case.truth_marks if mark.region is not None]
    labels = np.array([index for _, index in regions], dtype=np.int64)
    if masks:
        bitmaps = masks_to_prepared([region.mask for region, _ in regions if region.mask is not None], image)
        boxes = np.array([_bitmap_box(bitmap) for bitmap in bitmaps], dtype=np.float32).reshape(-1, 4)
    else:
        bitmaps = None
        original = np.array([region.box for region, _ in regions], dtype=np.float64).reshape(-1, 4)
        boxes = boxes_to_prepared(original, image).astype(np.float32)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return PreparedMarks(
        boxes=boxes[kept],
        classes=labels[kept],
        bitmaps=None if bitmaps is None else tuple(b for b, keep in zip(bitmaps, kept, strict=True) if keep),
    )
