"""The points of curves and the confusion matrix, for plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overread.errors import InputError, UndefinedMetric
from overread.evaluation.labels import LabelDraws, LabelQuestion
from overread.evaluation.marks import MarkQuestion, Marks
from overread.evaluation.matching import Kind

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a curve, from the strictest threshold to the loosest.

    Args:
        x: `(point,)`.
        y: `(point,)`.
        thresholds: `(point,)`, called from this score on; infinity where nothing is called.
    """

    x: Array
    y: Array
    thresholds: Array


def roc_curve(truth: ArrayLike, scores: ArrayLike) -> Curve:
    """Sensitivity (y) against 1 - specificity (x), from (0, 0) to (1, 1).

    Args:
        truth: `(case,)` of 0 and 1.
        scores: `(case,)` in [0, 1].

    Raises:
        UndefinedMetric: unless there are positive and negative cases.
    """
    found, false, thresholds = _counts(truth, scores)
    return Curve(false / false[-1], found / found[-1], thresholds)


def pr_curve(truth: ArrayLike, scores: ArrayLike) -> Curve:
    """Precision (y) against sensitivity (x); it begins at the highest score, as nothing called has no precision.

    Args:
        truth: `(case,)` of 0 and 1.
        scores: `(case,)` in [0, 1].

    Raises:
        UndefinedMetric: unless there are positive and negative cases.
    """
    found, false, thresholds = (points[1:] for points in _counts(truth, scores))
    return Curve(found / found[-1], found / (found + false), thresholds)


def froc(truth: Marks, predicted: Marks, *, kind: Kind = "boxes", iou: float = 0.5) -> Curve:
    """Share of the true marks that are found (y) against false marks an image (x), all classes together.

    Args:
        truth: case id -> true marks.
        predicted: case id -> the model's marks with scores, for the same cases.
        kind: the rule of a hit: IoU of "boxes" or "masks", or "centres": the mark's centre lies in the true region.
        iou: from which on it is a hit (any number in (0, 1] for "centres").

    Raises:
        UndefinedMetric: without any true mark.
    """
    labels = sorted({mark.label for side in (truth, predicted) for marks in side.values() for mark in marks})
    questions = MarkQuestion.of_classes(
        truth, predicted, labels, {case: case for case in truth}, kind=kind, ious=(iou,)
    )
    true_marks = sum(question.n_positive for question in questions)
    if not true_marks:
        raise UndefinedMetric("undefined: a FROC curve needs true marks; found none")
    scores = np.concatenate([question.scores for question in questions])
    hits = np.concatenate([question.matched[0] for question in questions])
    order = np.argsort(-scores, kind="stable")
    last = _last_of_equals(scores[order])
    found = np.concatenate([[0], np.cumsum(hits[order])[last]])
    false = np.concatenate([[0], np.cumsum(~hits[order])[last]])
    return Curve(false / len(truth), found / true_marks, np.concatenate([[np.inf], scores[order][last]]))


def confusion_matrix(truth: ArrayLike, called: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How often each class was called each class.

    Args:
        truth: `(case,)` class indices.
        called: `(case,)` class indices.
        classes: how many there are.

    Returns:
        `(true class, called class)`, counts.

    Raises:
        InputError: for an index that is no class.
    """
    pairs = np.stack([np.asarray(truth), np.asarray(called)])
    if not np.isin(pairs, np.arange(classes)).all():
        raise InputError(f"Classes are 0 to {classes - 1}; found {np.unique(pairs)[:10].tolist()}.")
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (pairs[0].astype(int), pairs[1].astype(int)), 1)
    return matrix


def _counts(truth: ArrayLike, scores: ArrayLike) -> tuple[Array, Array, Array]:
    """True positives, false positives and threshold, from nothing called to all called."""
    question = LabelQuestion.ask(truth, scores)
    if not 0 < question.n_positive < question.n_cases:
        raise UndefinedMetric(
            f"undefined: this curve needs positive and negative cases; found {question.n_positive} positive of "
            f"{question.n_cases}"
        )
    drawn = LabelDraws(question, np.ones((1, question.n_cases)))
    found = np.concatenate([[0], drawn.positives_from[0]])
    false = np.concatenate([[0], np.cumsum(drawn.negatives_at[0])])
    return found, false, np.concatenate([[np.inf], question.scores[question.starts]])


def _last_of_equals(scores: Array) -> NDArray[np.intp]:
    return np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, dtype=np.intp)
