"""Finding, Region, Mask, Prediction: what is said about an image, by a person or by a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from overread.errors import InputError
from overread.image import Image

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the original grid; edges, so that pixel (0, 0) is the box (0, 0, 1, 1)."""


@dataclass(frozen=True)
class Mask:
    """The pixels of one region, run-length encoded as in COCO (compressed counts, column-major).

    Args:
        shape: (row, column) of the image.
        counts: COCO's compressed counts.
    """

    shape: tuple[int, int]
    counts: bytes

    @classmethod
    def from_array(cls, array: NDArray[np.bool_]) -> Mask:
        """Encode a `(row, column)` array; every value other than 0 belongs to the region."""
        if array.ndim != 2:
            raise InputError(f"A mask has (row, column); found shape {array.shape}.")
        encoded = coco_mask.encode(np.asfortranarray(array != 0, dtype=np.uint8))
        return cls((int(array.shape[0]), int(array.shape[1])), encoded["counts"])

    @classmethod
    def from_coco(cls, rle: Mapping[str, Any]) -> Mask:
        """Read COCO RLE, compressed or as a list of counts."""
        rows, columns = (int(n) for n in rle["size"])
        counts = rle["counts"]
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects({"size": [rows, columns], "counts": counts}, rows, columns)["counts"]
        return cls((rows, columns), counts.encode() if isinstance(counts, str) else counts)

    @classmethod
    def from_polygons(cls, polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> Mask:
        """Fill COCO polygons, each x0, y0, x1, y1 ..., and join them."""
        runs = coco_mask.frPyObjects([list(polygon) for polygon in polygons], *shape)
        return cls(shape, coco_mask.merge(runs)["counts"])

    def to_coco(self) -> dict[str, Any]:
        """COCO RLE as it stands in JSON: `{"size": [rows, columns], "counts": str}`."""
        return {"size": list(self.shape), "counts": self.counts.decode()}

    def to_array(self) -> NDArray[np.bool_]:
        """`(row, column)`, True inside the region."""
        return np.asarray(coco_mask.decode(self._rle()), dtype=bool)

    @property
    def area_px(self) -> int:
        """How many pixels it has."""
        return int(coco_mask.area(self._rle()))

    @property
    def box(self) -> Box:
        """The smallest box around it; (0, 0, 0, 0) for an empty mask."""
        left, top, width, height = (float(n) for n in coco_mask.toBbox(self._rle()))
        return left, top, left + width, top + height

    def _rle(self) -> dict[str, Any]:
        return {"size": list(self.shape), "counts": self.counts}


@dataclass(frozen=True)
class Region:
    """A place in the original pixel grid: a box, and its mask where there is one."""

    box: Box
    mask: Mask | None = None

    @classmethod
    def from_mask(cls, mask: Mask) -> Region:
        """The region of a mask with the box around it."""
        return cls(mask.box, mask)


@dataclass(frozen=True)
class Code:
    """A coded concept, such as 108369006 in SNOMED CT."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Finding:
    """One statement that a clinician can agree with or not.

    Args:
        label: the class in the data set's own words.
        region: where it is, in the **original** pixel grid; None when it is about the whole image.
        score: how sure the model is, in [0, 1]; None for truth said by a person.
        interval: (low, high) of the score, where it is known.
        code: the coded concept behind the label.
    """

    label: str
    region: Region | None = None
    score: float | None = None
    interval: tuple[float, float] | None = None
    code: Code | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """All that a model says about one case, or why it refused.

    Args:
        case_id: which case.
        findings: marks with scores, highest first; empty also means "nothing found".
        scores: class -> score in [0, 1] for the image as a whole; of a model that marks, the highest of its marks.
        heatmap: `(row, column)` or `(slice, row, column)` in the original grid, where there is one: where the answer
            comes from or, of a model that knows one class only, where the image is unlike it; from 0 on.
        frame_scores: class -> score in [0, 1] of each slice or frame of the original image by itself, for models that
            read sequences; None where the slice was cut away before the model saw it.
        restored: the image as the model gives it back, for models that restore.
        quality: how near it came to the clean image, such as "psnr_db", where that is known.
        bundle_id: which model.
        doubt: why the answer may be wrong, in words that follow the image's name; None where nothing speaks for it.
        refused: why there is no answer, without the image's name; None when there is one.
    """

    case_id: str
    findings: tuple[Finding, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    heatmap: NDArray[np.float32] | None = None
    frame_scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    restored: Image | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    bundle_id: str | None = None
    doubt: str | None = None
    refused: str | None = None
