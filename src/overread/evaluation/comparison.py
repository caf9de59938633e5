"""Differences of two runs on the same cases, and whether chance among the patients could have made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overread.evaluation.delong import DeLong, delong
from overread.evaluation.intervals import Interval, interval
from overread.evaluation.measured import Measured
from overread.evaluation.metric import metrics

Array = NDArray[np.float64]
Verdict = Literal["better", "worse", "could be chance", "no difference seen", "the same", "undefined"]
"""Of a run, held against the reference."""

Key = tuple[str, str | None]
"""A metric and a class; None: over all classes."""


@dataclass(frozen=True)
class Difference:
    """A number of one run minus that of the reference, on the same cases.

    Args:
        metric: its name in the catalogue.
        class_name: which class; None: over all classes.
        value: None where one of the two numbers is undefined (then `method` says why).
        low: lower end of the interval; None where there is none (then `method` says why).
        high: upper end likewise.
        level: of the interval, such as 0.95.
        n_cases: how many images it rests on.
        n_patients: how many patients, where those who share a picture count as one.
        n_positive: how many positive cases (labels) or true marks.
        method: how the interval was made, in words.
        test: DeLong's test, of an AUROC of one class.
        p_holm: its p, corrected for all tests of the comparison.
    """

    metric: str
    class_name: str | None
    value: float | None
    low: float | None
    high: float | None
    level: float
    n_cases: int
    n_patients: int
    n_positive: int
    method: str
    test: DeLong | None = None
    p_holm: float | None = None

    @property
    def key(self) -> Key:
        """What was measured."""
        return self.metric, self.class_name

    @property
    def lower_is_better(self) -> bool:
        """Whether a run with a difference below 0 is the better one."""
        return metrics.get(self.metric).better == "lower"

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where the interval leaves out 0 and, where there is a test, that agrees."""
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return "could be chance" if self.value else "no difference seen"
        if self.low == self.high == 0:
            return "the same"
        untested = self.test is None or self.test.p_value is None
        agreed = untested or (self.p_holm is not None and self.p_holm < 1 - self.level)
        if self.low <= 0 <= self.high or not agreed:
            return "could be chance"
        return "better" if (self.high < 0) is self.lower_is_better else "worse"

    def as_json(self) -> dict[str, Any]:
        """The row of `comparison.json`; numbers and None only, so that the JSON is strict."""
        return asdict(self) | {"lower_is_better": self.lower_is_better, "verdict": self.verdict}


def differences(
    reference: Sequence[Measured], other: Sequence[Measured], *, level: float, same: bool
) -> list[Difference]:
    """Every number of a run minus that of the reference, with the interval of a paired bootstrap.

    In each draw both runs are measured on the same patients, so that what makes a patient easy or hard for both does
    not widen the interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 8).

    Args:
        reference: its numbers, drawn with a seed.
        other: those of the other run on the same cases, drawn with the same seed.
        level: of the intervals.
        same: whether the two gave the same answers to all cases; then a difference is 0 and not only seems to be.
    """
    return [
        _difference(one, two, level=level, same=same, alike=_defined(reference, one) == _defined(other, two))
        for one, two in zip(reference, other, strict=True)
    ]


def with_tests(rows: Sequence[Difference], tests: Mapping[str | None, DeLong]) -> list[Difference]:
    """The differences with DeLong's tests of their AUROCs, class name -> test."""
    return [
        replace(row, test=_worded(tests[row.class_name], row))
        if row.metric == "auroc" and row.class_name in tests
        else row
        for row in rows
    ]


def _worded(test: DeLong, row: Difference) -> DeLong:
    if test.p_value is None or row.n_patients == row.n_cases:
        return test
    return replace(
        test,
        method=f"{test.method}; it counts cases, and these are of {row.n_patients} patients (or groups of copies) "
        "only, so that its interval is rather too narrow and its p too small",
    )


def auroc_tests(
    truth: ArrayLike, reference: ArrayLike, other: ArrayLike, classes: Sequence[str], *, level: float
) -> dict[str | None, DeLong]:
    """DeLong's test for each class; of two classes that exclude each other, and of a single one, it is that of all.

    Args:
        truth: `(case,)` class indices, or `(case, class)` of 0, 1 and NaN for not known.
        reference: `(case, class)`, scores in [0, 1].
        other: `(case, class)` of the other run, for the same cases.
        classes: their names.
        level: of the intervals.

    Returns:
        Class name, or None for all classes -> test; classes without positive or without negative cases have none.
    """
    labels, first, second = np.asarray(truth), np.asarray(reference), np.asarray(other)
    present = labels if labels.ndim == 2 else np.where(labels[:, None] == np.arange(len(classes)), 1.0, 0.0)
    asked = dict(enumerate(classes)) if len(classes) > 2 or labels.ndim == 2 else {1: None}
    if len(classes) == 1:
        asked = {0: None}
    tests: dict[str | None, DeLong] = {}
    for column, name in asked.items():
        known = ~np.isnan(present[:, column])
        if len(np.unique(present[known, column])) == 2:
            tests[name] = delong(present[known, column], first[known, column], second[known, column], level=level)
    return tests


def holm(p_values: Sequence[float]) -> list[float]:
    """The p of several tests, such that one among all of them is rarely small by chance (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = least
    return corrected


def corrected(runs: Sequence[Sequence[Difference]]) -> list[list[Difference]]:
    """The differences of all runs with the p of their tests corrected for one another."""
    tested = [row.test.p_value for rows in runs for row in rows if row.test and row.test.p_value is not None]
    found = iter(holm(tested))
    return [
        [replace(row, p_holm=next(found)) if row.test and row.test.p_value is not None else row for row in rows]
        for rows in runs
    ]


def _defined(rows: Sequence[Measured], of: Measured) -> set[str | None]:
    """The classes that define a metric; those of a number of one class are all the same to it."""
    if of.class_name is not None:
        return set()
    return {row.class_name for row in rows if row.metric == of.metric and row.class_name and not np.isnan(row.value)}


def _difference(reference: Measured, other: Measured, *, level: float, same: bool, alike: bool) -> Difference:
    value: float | None = other.value - reference.value
    undefined = [one.says for one in (reference, other) if np.isnan(one.value)]
    if undefined:
        value, found = None, Interval(None, None, undefined[0])
    elif not alike:
        value, found = None, Interval(None, None, "undefined: the two are means over different classes")
    elif same:
        found = Interval(0.0, 0.0, "the answers to all cases are the same")
    else:
        support = min(reference.support, other.support)
        found = interval(other.value - reference.value, other.drawn - reference.drawn, level=level, patients=support,
                         proportion=False)  # fmt: skip
        found = replace(found, method=f"both runs on the same draws; {found.method}")
    return Difference(
        reference.metric, reference.class_name, value, found.low, found.high, level,
        reference.n_cases, reference.n_patients, reference.n_positive, found.method,
    )  # fmt: skip
