"""Measured: a number with its bootstrap draws, on the way to becoming an Estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overread.evaluation.estimate import Estimate
from overread.evaluation.intervals import Asker, interval, over_draws, weighted_sums
from overread.evaluation.metric import Metric, Question

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """One number before its interval is taken.

    Args:
        metric: its name in the catalogue.
        class_name: which class; None: over all classes.
        says: what it is and how decisions were made; where undefined, why.
        value: NaN where undefined.
        drawn: `(draw,)`, NaN where undefined.
        support: how many patients it rests on, of the rarer kind where it needs two kinds.
        proportion: whether it is a share of successes.
        n_cases: how many images.
        n_patients: how many patients.
        n_positive: how many positive cases or true marks.
    """

    metric: str
    class_name: str | None
    says: str
    value: float
    drawn: Array
    support: int
    proportion: bool
    n_cases: int
    n_patients: int
    n_positive: int

    def estimate(self, *, level: float, subgroup: str | None) -> Estimate:
        """The number with its interval; None with the reason where it is undefined."""
        value, low, high, method = None, None, None, self.says
        if not np.isnan(self.value):
            found = interval(self.value, self.drawn, level=level, patients=self.support, proportion=self.proportion)
            value, low, high, method = self.value, found.low, found.high, f"{self.says}; {found.method}"
        return Estimate(
            self.metric, self.class_name, subgroup, value, low, high, level,
            self.n_cases, self.n_patients, self.n_positive, method,
        )  # fmt: skip


def asker(question: Question, metrics: Sequence[Metric]) -> Asker:
    """What turns counts `(draw, patient)` into the metrics of one question, `(metric, draw)`."""

    def ask(counts: Array) -> Array:
        drawn = question.drawn(counts)
        return np.stack([metric.over_draws(drawn) for metric in metrics])

    return ask


def of_class(metric: Metric, question: Question, class_name: str, *, says: str, value: float, drawn: Array) -> Measured:
    """A metric of one class."""
    return Measured(
        metric=metric.name,
        class_name=class_name,
        says=metric.reason(question) if np.isnan(value) else says,
        value=value,
        drawn=drawn,
        support=min(question.patients_with(what) for what in metric.rests_on),
        proportion=metric.proportion,
        n_cases=question.n_cases,
        n_patients=question.patients_with("cases"),
        n_positive=question.n_positive,
    )


def mean_of_classes(
    classes: Sequence[Measured], *, says: str, n_cases: int, n_patients: int, n_positive: int, add: bool = False
) -> Measured:
    """The mean of a metric over the classes that define it; the others are named. `add`: the sum, of amounts.

    A draw in which one of these classes is undefined counts as undefined, so that every draw measures the same thing.
    """
    defined = [one for one in classes if not np.isnan(one.value)]
    left_out = [f"'{one.class_name}'" for one in classes if np.isnan(one.value)]
    if not defined:
        says = f"undefined for every class; {classes[0].says}" if classes else "undefined: there are no classes"
        value, drawn, support = np.nan, np.empty(0), 0
    else:
        says += f"; {'sum' if add else 'mean'} over {len(defined)} classes" if len(classes) > 1 else ""
        says += f", without {', '.join(left_out)} (undefined)" if left_out else ""
        over = np.sum if add else np.mean
        value = float(over([one.value for one in defined]))
        drawn = over([one.drawn for one in defined], axis=0)
        support = min(one.support for one in defined)
    return Measured(
        metric=classes[0].metric,
        class_name=None,
        says=says,
        value=value,
        drawn=drawn,
        support=support,
        proportion=classes[0].proportion and len(classes) == 1,
        n_cases=n_cases,
        n_patients=n_patients,
        n_positive=n_positive,
    )


def measured_by_class(
    chosen: Sequence[Metric],
    questions: Sequence[Question],
    classes: Sequence[str],
    *,
    says: Callable[[Metric], str],
    patients: int,
    size: int,
    draws: int,
    seed: int,
    total: dict[str, int],
) -> list[Measured]:
    """Every metric over the same draws of patients: the means of the classes first, then class by class.

    Args:
        chosen: the metrics.
        questions: one a class.
        classes: their names, in the same order.
        says: what a metric is and how decisions were made.
        patients: how many there are to draw.
        size: of the largest question, so that draws are made in lots that fit into memory.
        draws: bootstrap draws over patients.
        seed: of the draws.
        total: `n_cases`, `n_patients` and `n_positive` of all classes together.
    """
    results = over_draws(
        [asker(question, chosen) for question in questions], patients=patients, size=size, draws=draws, seed=seed
    )
    overall: list[Measured] = []
    by_class: list[list[Measured]] = []
    for i, m in enumerate(chosen):
        words = says(m)
        rows = [
            of_class(m, question, name, says=words, value=float(values[i]), drawn=drawn[i])
            for name, question, (values, drawn) in zip(classes, questions, results, strict=True)
        ]
        by_class.append(rows)
        overall.append(mean_of_classes(rows, says=words, add=m.rate, **total))
    return [*overall, *(row for rows in zip(*by_class, strict=True) for row in rows)]


def means_asker(values: Array, patient: NDArray[np.intp], patients: int) -> Asker:
    """What turns counts into weighted means over the cases.

    Args:
        values: `(number, case)`, what each case contributes.
        patient: `(case,)`, index of the patient.
        patients: how many there are.
    """
    columns = [*values, np.ones(len(patient))]
    sums = np.stack([np.bincount(patient, column, minlength=patients).astype(np.float64) for column in columns])

    def ask(counts: Array) -> Array:
        *totals, cases = weighted_sums(counts, sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.reshape(totals, (len(totals), len(counts))) / cases

    return ask
