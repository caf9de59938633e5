"""One number a case, to choose the best, the median and the worst example for a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from overread.errors import UndefinedMetric
from overread.evaluation.matching import Kind, match
from overread.finding import Finding


def case_score(
    truth: Sequence[Finding], predicted: Sequence[Finding], *, kind: Kind = "boxes", threshold: float = 0.5
) -> float:
    """F1 of the marks of one image at IoU 0.5; 1 for a normal image without marks.

    Args:
        truth: the true marks.
        predicted: the marks of a model.
        kind: how overlap is measured.
        threshold: a mark is called from this score on.
    """
    found = match(truth, predicted, kind=kind, threshold=threshold)
    marks = 2 * len(found.pairs) + len(found.misses) + len(found.false_marks)
    return 2 * len(found.pairs) / marks if marks else 1.0


def label_case_score(truth: int | ArrayLike, scores: ArrayLike) -> float:
    """The score that one image gives to the truth, in [0, 1].

    Args:
        truth: the class index, or `(class,)` of 0, 1 and NaN for not known.
        scores: `(class,)` in [0, 1]; for several labels the mean over the known ones, 1 - score where absent.

    Raises:
        UndefinedMetric: where nothing is known of the case.

    >>> label_case_score(1, [0.2, 0.8])
    0.8
    """
    labels, numbers = np.asarray(truth, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if labels.ndim == 0:
        return float(numbers[int(labels)])
    known = ~np.isnan(labels)
    if not known.any():
        raise UndefinedMetric("undefined: nothing is known of this case")
    return float(1 - np.abs(labels - numbers)[known].mean())
