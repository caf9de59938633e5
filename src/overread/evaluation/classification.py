"""How well images are classified: metrics of labels, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overread.errors import InputError
from overread.evaluation.estimate import Estimate
from overread.evaluation.intervals import over_draws
from overread.evaluation.labels import LabelDraws, LabelQuestion, check_scores
from overread.evaluation.measured import Measured, asker, mean_of_classes, means_asker, of_class
from overread.evaluation.metric import metric, metrics_of

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_DECISION = {"single-label": "the highest score decides", "multi-label": "present from a score of 0.5 on"}


@metric(
    "auroc",
    better="higher",
    says="area under the ROC curve, equal scores count half",
    rests_on=("positives", "negatives"),
    proportion=True,
    symmetric=True,
)
def auroc(drawn: LabelDraws) -> Array:
    """The chance that a positive case scores above a negative one (Hanley and McNeil, Radiology 143:29, 1982)."""
    above = np.einsum("dg,dg->d", drawn.negatives_at, drawn.positives_from)
    level = np.einsum("dg,dg->d", drawn.negatives_at, drawn.positives_at)
    return np.asarray((above - level / 2) / (drawn.positives * drawn.negatives))


@metric(
    "average_precision",
    better="higher",
    says="average precision, the steps of the precision-recall curve without interpolation",
    rests_on=("positives", "negatives"),
)
def average_precision(drawn: LabelDraws) -> Array:
    """Precision at every positive case, averaged."""
    seen = np.cumsum(drawn.negatives_at, axis=1)
    seen += drawn.positives_from
    np.maximum(seen, 1, out=seen)  # counts are whole: below 1 nothing was seen and nothing found
    precision = np.divide(drawn.positives_from, seen, out=seen)
    return np.asarray(np.einsum("dg,dg->d", drawn.positives_at, precision) / drawn.positives)


def _all_right(truth: Flags, _scores: Array, called: Flags) -> Array:
    return np.asarray((truth == called).all(axis=1), dtype=np.float64)


@metric(
    "accuracy",
    better="higher",
    says="share of cases decided rightly",
    proportion=True,
    decides=True,
    overall=_all_right,
)
def accuracy(drawn: LabelDraws) -> Array:
    """Of all cases, the share that is called rightly."""
    return np.asarray(drawn.right / drawn.cases)


@metric(
    "sensitivity",
    better="higher",
    says="share of positive cases that are called",
    rests_on=("positives",),
    proportion=True,
    decides=True,
)
def sensitivity(drawn: LabelDraws) -> Array:
    """Of those who have it, the share that is found."""
    return drawn.true_positives / drawn.positives


@metric(
    "specificity",
    better="higher",
    says="share of negative cases that are not called",
    rests_on=("negatives",),
    proportion=True,
    decides=True,
)
def specificity(drawn: LabelDraws) -> Array:
    """Of those who do not have it, the share that is left alone."""
    return 1 - (drawn.called - drawn.true_positives) / drawn.negatives


@metric(
    "f1",
    better="higher",
    says="harmonic mean of precision and sensitivity",
    rests_on=("positives",),
    decides=True,
)
def f1(drawn: LabelDraws) -> Array:
    """2 TP / (2 TP + FP + FN)."""
    return 2 * drawn.true_positives / (drawn.called + drawn.positives)


def _half_squares(truth: Flags, scores: Array, _called: Flags) -> Array:
    return np.asarray(((scores - truth) ** 2).sum(axis=1) / 2)


@metric(
    "brier",
    better="lower",
    says="mean squared difference of score and truth; over all classes half of the sum over the classes",
    overall=_half_squares,
)
def brier(drawn: LabelDraws) -> Array:
    """How far scores are from the truth, squared (Brier, Monthly Weather Review 78:1, 1950), in [0, 1].

    Over all classes of a "single-label" problem it is half of Brier's sum, so that two classes give the same number
    as the score of one.
    """
    return drawn.squared_error / drawn.cases


def classification_estimates(
    truth: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    patients: Sequence[str],
    *,
    task: Literal["single-label", "multi-label"],
    draws: int,
    level: float,
    seed: int,
    subgroup: str | None = None,
) -> list[Estimate]:
    """The numbers of `classification_measured` with intervals of a `level`; `subgroup` is what to call these cases."""
    measured = classification_measured(truth, scores, classes, patients, task=task, draws=draws, seed=seed)
    return [one.estimate(level=level, subgroup=subgroup) for one in measured]


def classification_measured(
    truth: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    patients: Sequence[str],
    *,
    task: Literal["single-label", "multi-label"],
    draws: int,
    seed: int,
) -> list[Measured]:
    """Every metric of labels, over all classes first, then class by class, with bootstrap draws of patients.

    Args:
        truth: `(case,)` class indices ("single-label"), or `(case, class)` of 0, 1 and NaN for not known
            ("multi-label"; a case is left out of the classes that are not known of it).
        scores: `(case, class)` in [0, 1].
        classes: their names.
        patients: `(case,)`, who each case belongs to.
        task: whether exactly one class is present in an image, or any number.
        draws: bootstrap draws over patients.
        seed: of the draws; equal seeds draw the same patients, whatever the scores.

    Returns:
        A number that the data do not define is NaN, and the reason stands in `says`.

    Raises:
        InputError: where truth, scores, classes and patients do not fit together.
    """
    known, present, numbers = _checked(truth, scores, classes, patients, task)
    called = _highest(numbers) if task == "single-label" else numbers >= 0.5
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    questions = [
        LabelQuestion.sorted(present[k, c], numbers[k, c], called[k, c], patient[k], len(names))
        for c, k in enumerate(known.T)
    ]
    chosen = metrics_of(LabelQuestion)
    own = {m.name: m.overall for m in chosen if m.overall is not None and task == "single-label"}
    parts = [contribution(present, numbers, called) for contribution in own.values()]
    results = over_draws(
        [
            *(asker(question, chosen) for question in questions),
            means_asker(np.reshape(parts, (len(own), len(numbers))), patient, len(names)),
        ],
        patients=len(names),
        size=len(numbers),
        draws=draws,
        seed=seed,
    )
    binary = task == "single-label" and len(classes) == 2
    total = {
        "n_cases": len(numbers),
        "n_patients": len(names),
        "n_positive": int(present[:, 1].sum() if binary else (present & known).sum()),
    }
    by_class: list[list[Measured]] = []
    overall: list[Measured] = []
    direct = dict(zip(own, zip(*results[-1], strict=True), strict=True))
    for i, m in enumerate(chosen):
        says = f"{m.says}; {_DECISION[task]}" if m.decides else m.says
        rows = [
            of_class(m, question, name, says=says, value=float(values[i]), drawn=drawn[i])
            for name, question, (values, drawn) in zip(classes, questions, results[:-1], strict=True)
        ]
        by_class.append(rows)
        if m.name in direct:
            value, drawn = direct[m.name]
            says = says if len(names) else m.reason(questions[0])
            overall.append(Measured(m.name, None, says, float(value), drawn, len(names), m.proportion, **total))
        elif m.symmetric and binary:
            overall.append(replace(rows[1], class_name=None, says=f"{rows[1].says}; that of '{classes[1]}'"))
        else:
            overall.append(mean_of_classes(rows, says=says, add=m.rate, **total))
    return [*overall, *(row for rows in zip(*by_class, strict=True) for row in rows)]


def _highest(scores: Array) -> Flags:
    """`(case, class)`, True at the highest score of a case; of equal ones at the first."""
    highest = np.zeros(scores.shape, dtype=bool)
    highest[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return highest


def _checked(
    truth: ArrayLike, scores: ArrayLike, classes: Sequence[str], patients: Sequence[str], task: str
) -> tuple[Flags, Flags, Array]:
    """`(case, class)` each: what is known, what is present, and the scores."""
    numbers, labels = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    cases, n = len(patients), len(classes)
    expected = (cases,) if task == "single-label" else (cases, n)
    if numbers.shape != (cases, n) or labels.shape != expected or not n:
        raise InputError(
            f"{cases} cases and {n} classes need truth {expected} and scores {(cases, n)}; "
            f"found {labels.shape} and {numbers.shape}."
        )
    check_scores(numbers)
    if task == "single-label":
        if not np.isin(labels, np.arange(n)).all():
            raise InputError(
                f"Truth holds class indices from 0 to {n - 1}; found {np.unique(labels)[:10].tolist()}. "
                "Leave out cases without a label."
            )
        present = labels[:, None] == np.arange(n)
        return np.ones_like(present), present, numbers
    known = ~np.isnan(labels.astype(np.float64))
    if not np.isin(labels[known], (0, 1)).all():
        raise InputError(f"Truth holds 0, 1 and NaN for not known; found {np.unique(labels[known])[:10].tolist()}.")
    return known, labels == 1, numbers
