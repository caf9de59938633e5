"""The marks of several networks on one image become one set of marks."""

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
    """Marks of several networks, those of one lesion joined, highest score first.

    Boxes are joined as in weighted boxes fusion (Solovyev et al., Image and Vision Computing 107, 2021): box and
    mask are means weighted by score, and the score is the sum over the networks divided by how many networks
    there are, so that what only one of them sees counts for little.
    """
    if len(found) == 1:
        return sorted(found[0], key=lambda mark: -mark.score)
    clusters: list[list[FoundMark]] = []
    members: list[set[int]] = []
    heads: list[FoundMark] = []
    ordered = [(mark, network) for network, marks in enumerate(found) for mark in marks]
    for mark, network in sorted(ordered, key=lambda pair: -pair[0].score):
        best, overlap = -1, SAME_PLACE
        for index, head in enumerate(heads):
            if head.class_index == mark.class_index and network not in members[index]:
                here = _iou(head.box, mark.box)
                if here >= overlap:
                    best, overlap = index, here
        if best < 0:
            clusters.append([mark])
            members.append({network})
            heads.append(mark)
        else:
            clusters[best].append(mark)
            members[best].add(network)
            heads[best] = _joined(clusters[best])
    scored = [
        replace(head, score=sum(mark.score for mark in cluster) / len(found))
        for head, cluster in zip(heads, clusters, strict=True)
    ]
    return sorted(scored, key=lambda mark: -mark.score)


def surest(marks: Sequence[FoundMark]) -> list[FoundMark]:
    """The marks without those at whose place a surer one of another class is, highest score first."""
    kept: list[FoundMark] = []
    for mark in sorted(marks, key=lambda mark: -mark.score):
        if all(other.class_index == mark.class_index or _iou(other.box, mark.box) < SAME_PLACE for other in kept):
            kept.append(mark)
    return kept


def _joined(cluster: Sequence[FoundMark]) -> FoundMark:
    weights = np.array([max(mark.score, 1e-9) for mark in cluster])  # marks without any score weigh alike
    weights = weights / weights.sum()
    left, top, right, bottom = (weights @ np.array([mark.box for mark in cluster])).tolist()
    masks = [mark.mask for mark in cluster if mark.mask is not None]
    mask = np.tensordot(weights, np.stack(masks), 1).astype(np.float32) if len(masks) == len(cluster) else None
    return replace(cluster[0], box=(left, top, right, bottom), mask=mask)


def _iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
