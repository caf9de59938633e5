"""DeLong's test: whether two AUROCs of the same cases differ by more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overread.errors import InputError
from overread.evaluation.labels import LabelQuestion

Array = NDArray[np.float64]

_LEAST_VARIANCE = 1e-20  # of an AUROC: below it stands what rounding leaves of zero


@dataclass(frozen=True)
class DeLong:
    """A difference of two AUROCs with its test.

    Args:
        value: AUROC of the other scores minus that of the reference, in [-1, 1].
        low: lower end of the interval; None where there is no test.
        high: upper end; None likewise.
        p_value: how often chance alone would part two equal AUROCs as far or farther; None likewise.
        method: how it was made, or why there is no test.
    """

    value: float
    low: float | None
    high: float | None
    p_value: float | None
    method: str


def delong(truth: ArrayLike, reference: ArrayLike, other: ArrayLike, *, level: float) -> DeLong:
    """Test the difference of two AUROCs that rest on the same cases (DeLong et al., Biometrics 44:837, 1988).

    Computed from midranks in O(n log n) (Sun and Xu, IEEE Signal Processing Letters 21:1389, 2014). Every case counts
    as independent of the others: where a patient has several, the interval is too narrow and p too small.

    Args:
        truth: `(case,)` of 0 and 1.
        reference: `(case,)`, scores in [0, 1].
        other: `(case,)`, scores in [0, 1] of the same cases.
        level: of the interval, such as 0.95.

    Raises:
        InputError: where these do not fit together, or the cases are all positive or all negative.
    """
    from scipy.stats import norm

    first, second = (LabelQuestion.ask(truth, scores) for scores in (reference, other))
    present = np.asarray(truth) == 1
    positives, negatives = first.n_positive, first.n_cases - first.n_positive
    if second.n_cases != first.n_cases or not positives or not negatives:
        raise InputError(
            f"DeLong's test needs two scores for each case, and positive and negative cases; found {first.n_cases} "
            f"and {second.n_cases} scores, {positives} positive and {negatives} negative."
        )
    (of_positive, of_negative), (other_positive, other_negative) = (
        _placements(np.asarray(scores, dtype=np.float64), present) for scores in (reference, other)
    )
    value = float(other_positive.mean() - of_positive.mean())
    if np.array_equal(np.asarray(reference), np.asarray(other)):
        return DeLong(0.0, 0.0, 0.0, 1.0, "the scores are the same")
    if min(positives, negatives) < 2:
        return DeLong(value, None, None, None, "no test: it takes at least 2 positive and 2 negative cases")
    # the variance of a difference is that of the differences of the cases: covariances need not be written out
    variance = float(
        np.var(other_positive - of_positive, ddof=1) / positives
        + np.var(other_negative - of_negative, ddof=1) / negatives
    )
    if variance < _LEAST_VARIANCE:
        return DeLong(value, None, None, None, "no test: every case is ranked alike by both, so no spread is seen")
    deviation = variance**0.5
    reach = float(norm.isf((1 - level) / 2)) * deviation
    p_value = float(2 * norm.sf(abs(value) / deviation))
    # a difference of areas has ends that the normal distribution knows nothing of
    low, high = max(-1.0, value - reach), min(1.0, value + reach)
    return DeLong(value, low, high, p_value, f"DeLong's test over {first.n_cases} cases")


def _placements(scores: Array, present: NDArray[np.bool_]) -> tuple[Array, Array]:
    """For each positive case the share of negatives below it, for each negative that of positives above; ties half."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    positives, negatives = scores[present], scores[~present]
    below = (ranks[present] - rankdata(positives)) / len(negatives)
    above = 1 - (ranks[~present] - rankdata(negatives)) / len(positives)
    return below, above
