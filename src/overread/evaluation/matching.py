"""Which predicted mark belongs to which true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from overread.errors import InputError
from overread.finding import Finding, Mask, Region

Array = NDArray[np.float64]
Kind = Literal["boxes", "masks", "centres"]
"""How overlap is measured: IoU of boxes, IoU of masks, or 1 where the centre of a mark lies in the true region."""

FOUND_IOU = 0.5
"""From this overlap with a mark of its class on, a true mark counts as found."""


@dataclass(frozen=True)
class Matches:
    """The marks of one image, told apart.

    Args:
        pairs: (index in truth, index in predicted, overlap), highest score first.
        misses: indices of the true marks that no prediction found.
        false_marks: indices of the predicted marks that belong to no true one.
    """

    pairs: tuple[tuple[int, int, float], ...]
    misses: tuple[int, ...]
    false_marks: tuple[int, ...]


def overlaps(predicted: Sequence[Region], truth: Sequence[Region], kind: Kind) -> Array:
    """Overlap of every predicted region with every true one.

    Returns:
        `(predicted, truth)`, in [0, 1]; 0 where both are empty.

    Raises:
        InputError: where masks are asked for and a region has none, or masks are of images of different size.
    """
    if not predicted or not truth:
        return np.zeros((len(predicted), len(truth)))
    if kind == "centres":
        return _centres_inside(predicted, truth)
    one, other = (_coco(predicted), _coco(truth)) if kind == "boxes" else (_runs(predicted), _runs(truth))
    if kind == "masks" and len(sizes := {run["size"] for run in (*one, *other)}) > 1:
        raise InputError(f"Masks of one image have one size; found {sorted(sizes)}. Bring them to the original grid.")
    with np.errstate(invalid="ignore"):
        found = coco_mask.iou(one, other, [0] * len(truth))
    return np.nan_to_num(np.asarray(found, dtype=np.float64))


def greedy(overlap: Array, least: Sequence[float]) -> NDArray[np.intp]:
    """Match one to one as COCO does: from the highest score on, each takes the free true mark it overlaps most.

    Matching the highest scores first means that raising a score threshold afterwards only takes pairs away and
    changes none (Lin et al., ECCV 2014, and the reference implementation). For marks that do not overlap each other
    and an IoU above 0.5 any one-to-one matching is the same.

    Args:
        overlap: `(predicted, truth)`, the predicted marks from the highest score on.
        least: the overlaps from which on marks belong together.

    Returns:
        `(least, predicted)`, the index of the true mark, or -1.
    """
    found = np.full((len(least), len(overlap)), -1, dtype=np.intp)
    if not overlap.size:
        return found
    candidates = [np.flatnonzero(row >= min(*least, 1 - 1e-10)).tolist() for row in overlap]
    for level, needed in enumerate(least):
        taken: set[int] = set()
        for mark, near in enumerate(candidates):
            best, best_overlap = -1, min(needed, 1 - 1e-10)
            for true in near:
                if true not in taken and overlap[mark, true] >= best_overlap:
                    best, best_overlap = true, overlap[mark, true]
            if best >= 0:
                taken.add(best)
                found[level, mark] = best
    return found


def match(
    truth: Sequence[Finding],
    predicted: Sequence[Finding],
    *,
    kind: Kind = "boxes",
    iou: float = 0.5,
    threshold: float = 0.0,
) -> Matches:
    """Tell the marks of one image apart: found, missed, false. Marks of different classes never match.

    Args:
        truth: the true marks.
        predicted: the marks of a model, with scores, in any order.
        kind: how overlap is measured.
        iou: the overlap from which on two marks belong together.
        threshold: predicted marks with a lower score are passed over; they are in none of the three groups.

    Raises:
        InputError: for a mark without region, or a prediction without score.
    """
    scores = np.array([score_of(mark) for mark in predicted], dtype=np.float64)
    order = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] >= threshold]
    pairs: list[tuple[int, int, float]] = []
    for label in sorted({mark.label for mark in truth}):
        true = [i for i, mark in enumerate(truth) if mark.label == label]
        marks = [i for i in order if predicted[i].label == label]
        overlap = overlaps([region_of(predicted[i]) for i in marks], [region_of(truth[i]) for i in true], kind)
        for row, column in enumerate(greedy(overlap, (iou,))[0]):
            if column >= 0:
                pairs.append((true[column], marks[row], float(overlap[row, column])))
    pairs.sort(key=lambda pair: order.index(pair[1]))
    hit, used = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    return Matches(
        tuple(pairs),
        tuple(i for i in range(len(truth)) if i not in hit),
        tuple(i for i in order if i not in used),
    )


def region_of(mark: Finding) -> Region:
    """Where a mark is.

    Raises:
        InputError: where it says nothing about that, or its box is turned inside out.
    """
    if mark.region is None:
        raise InputError(f"A mark '{mark.label}' has no region; only findings with a place can be measured as marks.")
    left, top, right, bottom = mark.region.box
    if not (np.isfinite(mark.region.box).all() and left <= right and top <= bottom):
        raise InputError(f"A box is (left, top, right, bottom); found {mark.region.box} for a mark '{mark.label}'.")
    return mark.region


def score_of(mark: Finding) -> float:
    """How sure the model is of a mark.

    Raises:
        InputError: where it does not say, or says it by something else than a number in [0, 1].
    """
    if mark.score is None or not 0 <= mark.score <= 1:
        raise InputError(f"A predicted mark has a score from 0 to 1; found {mark.score} for a mark '{mark.label}'.")
    return mark.score


def _coco(regions: Sequence[Region]) -> Array:
    """`(region, 4)` as COCO has it: left, top, width, height."""
    boxes = np.array([region.box for region in regions], dtype=np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _mask_of(region: Region) -> Mask:
    if region.mask is None:
        raise InputError(f"Masks were asked for, and the region with box {region.box} has none; measure boxes instead.")
    return region.mask


def _runs(regions: Sequence[Region]) -> list[dict[str, Any]]:
    return [{"size": mask.shape, "counts": mask.counts} for mask in map(_mask_of, regions)]


def _centres_inside(predicted: Sequence[Region], truth: Sequence[Region]) -> Array:
    boxes = np.array([region.box for region in predicted], dtype=np.float64)
    x, y = boxes[:, 0::2].mean(axis=1), boxes[:, 1::2].mean(axis=1)
    inside = np.zeros((len(predicted), len(truth)))
    for column, region in enumerate(truth):
        left, top, right, bottom = region.box
        hit = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        if region.mask is not None and hit.any():
            pixels = region.mask.to_array()
            row_index = np.clip(y[hit].astype(int), 0, pixels.shape[0] - 1)
            column_index = np.clip(x[hit].astype(int), 0, pixels.shape[1] - 1)
            hit[hit] = pixels[row_index, column_index]
        inside[:, column] = hit
    return inside
