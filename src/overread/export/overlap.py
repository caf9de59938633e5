"""How well one mark lies on others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from overread.errors import InputError
from overread.finding import Finding, Region


def best_iou(mark: Finding, others: Sequence[Finding] | None) -> float | None:
    """The highest overlap of a mark with another one of its label, in [0, 1]; None where there is nothing to ask.

    The overlap (intersection over union) is that of the masks where both have one, else of the boxes.

    Args:
        mark: in pixels of the original grid.
        others: likewise; None where nobody marked the image. Empty gives 0.
    """
    if others is None:
        return None
    return max((_iou(region_of(mark), region_of(other)) for other in others if other.label == mark.label), default=0.0)


def region_of(mark: Finding) -> Region:
    """The place of a mark.

    Raises:
        InputError: for a finding about the whole image.
    """
    if mark.region is None:
        raise InputError(f"A mark has a place in the image; '{mark.label}' has none.")
    return mark.region


def _iou(a: Region, b: Region) -> float:
    if a.mask is not None and b.mask is not None:
        if a.mask.shape != b.mask.shape:
            raise InputError(f"Two masks of one image have its shape; found {a.mask.shape} and {b.mask.shape}.")
        return float(coco_mask.iou([a.mask.to_coco()], [b.mask.to_coco()], [0])[0, 0])
    boxes = [[left, top, right - left, bottom - top] for left, top, right, bottom in (a.box, b.box)]
    return float(coco_mask.iou(np.array(boxes[:1]), np.array(boxes[1:]), [0])[0, 0])
