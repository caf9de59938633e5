"""The marks of several answers to one image become one set of marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overread.finding import Box

SAME_PLACE = 0.5
"""Boxes that overlap at least so much (IoU) mean one place."""


@dataclass(frozen=True, eq=False)
class FoundMark:
    """One mark in the original grid.

    Args:
        box: where; it may reach out of the image, where the prepared one was padded.
        score: in [0, 1].
        class_index: which class.
        mask: `(m, m)` in [0, 1] inside the box; None without masks.
        shape: (row, column) of the original image.
    """

    box: Box
    score: float
    class_index: int
    mask: NDArray[np.float32] | None
    shape: tuple[int, int]


def merge(found: Sequence[Sequence[FoundMark]]) -> list[FoundMark]:
    """Marks of several answers, those of one lesion joined, highest score first.

    Boxes are joined as in weighted boxes fusion (Solovyev et al., Image and Vision Computing 107, 2021): box and
    mask are means weighted by score, and the score is the sum over the answers divided by how many there are, so that
    what is in only one of them counts for little.

    Args:
        found: what each network said, of each view of the image.
    """
    if len(found) == 1:
        return sorted(found[0], key=lambda mark: -mark.score)
    ordered = sorted(
        ((mark, asked) for asked, marks in enumerate(found) for mark in marks), key=lambda one: -one[0].score
    )
    clusters: list[list[FoundMark]] = []
    heads: list[FoundMark] = []
    boxes = np.zeros((len(ordered), 4))  # of the heads
    kinds = np.zeros(len(ordered), dtype=np.int64)
    has = np.zeros((len(ordered), len(found)), dtype=bool)  # whether a cluster has a mark of an answer
    for mark, asked in ordered:
        count = len(heads)
        overlaps = np.where(
            (kinds[:count] == mark.class_index) & ~has[:count, asked], _ious(boxes[:count], mark.box), 0
        )
        best = int(overlaps.argmax()) if count else 0
        if not count or overlaps[best] < SAME_PLACE:
            best = count
            clusters.append([mark])
            heads.append(mark)
        else:
            clusters[best].append(mark)
            heads[best] = _joined(clusters[best])
        boxes[best], kinds[best], has[best, asked] = heads[best].box, mark.class_index, True
    scored = [
        replace(head, score=sum(mark.score for mark in cluster) / len(found))
        for head, cluster in zip(heads, clusters, strict=True)
    ]
    return sorted(scored, key=lambda mark: -mark.score)


def surest(marks: Sequence[FoundMark]) -> list[FoundMark]:
    """The marks without those at whose place a surer one of another class is, highest score first."""
    kept: list[FoundMark] = []
    boxes, kinds = np.zeros((len(marks), 4)), np.zeros(len(marks), dtype=np.int64)  # of those that are kept
    for mark in sorted(marks, key=lambda mark: -mark.score):
        count = len(kept)
        others = kinds[:count] != mark.class_index
        if (_ious(boxes[:count][others], mark.box) < SAME_PLACE).all():
            boxes[count], kinds[count] = mark.box, mark.class_index
            kept.append(mark)
    return kept


def _joined(cluster: Sequence[FoundMark]) -> FoundMark:
    weights = np.array([max(mark.score, 1e-9) for mark in cluster])  # marks without any score weigh alike
    weights = weights / weights.sum()
    left, top, right, bottom = (weights @ np.array([mark.box for mark in cluster])).tolist()
    masks = [mark.mask for mark in cluster if mark.mask is not None]
    mask = np.tensordot(weights, np.stack(masks), 1).astype(np.float32) if len(masks) == len(cluster) else None
    return replace(cluster[0], box=(left, top, right, bottom), mask=mask)


def _ious(boxes: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """How much boxes `(n, 4)` overlap with one: area in common / area covered."""
    start, stop = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.prod(np.clip(stop - start, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + (box[2] - box[0]) * (box[3] - box[1]) - common
    shares: NDArray[np.float64] = np.divide(common, areas, out=np.zeros_like(common), where=common > 0)
    return shares
