"""Metric and its catalogue: a function of weighted cases, with all that an honest report must know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from overread.catalogue import Catalogue
from overread.errors import UndefinedMetric
from overread.evaluation.labels import LabelQuestion

Array = NDArray[np.float64]
Amount = Literal["cases", "positives", "negatives", "truths", "matches"]

WORDS: dict[str, str] = {
    "cases": "cases",
    "positives": "positive cases",
    "negatives": "negative cases",
    "truths": "true marks",
    "matches": "matched marks",
}


class Drawn(Protocol):
    """A question with the case weights of several draws."""

    def amount(self, what: Amount) -> Array:
        """`(draw,)`, the weight of the positives, of the true marks ... in each draw."""
        ...


class Question(Protocol):
    """What is asked about one class, prepared once: truth, answers, and the patient of each case."""

    def drawn(self, counts: Array) -> Drawn:
        """The question with every patient counted `counts` times, `(draw, patient)`."""
        ...

    def patients_with(self, what: Amount) -> int:
        """How many patients have positives, true marks ..."""
        ...

    @property
    def patients(self) -> int:
        """How many patients are drawn from."""
        ...

    @property
    def n_cases(self) -> int:
        """How many images it is about."""
        ...

    @property
    def n_positive(self) -> int:
        """How many positive cases or true marks."""
        ...


@dataclass(frozen=True, eq=False)
class Metric:
    """One number about the answers to a question; call it with the data to get the plain number.

    Args:
        name: in the catalogue.
        better: whether higher or lower is better.
        says: the definition in words, for reports.
        of: what it is asked of: `LabelQuestion` (image labels), `MarkQuestion` (marked lesions) or
            `RestorationQuestion` (restored images).
        over_weights: the number for every draw, `(draw,)`, from a question with weights.
        rests_on: without these it is undefined, and an interval needs at least two patients who have them.
        proportion: whether it is a share of independent successes, so that a perfect result has an exact bound.
        decides: whether it depends on a decision (a threshold, the highest score) and not only on the scores.
        symmetric: whether the two classes of a two-class question have the same number.
        rate: whether it is an amount an image, so that of several classes the sum is told and not the mean.
        ends: the lowest and the highest number that it can be.
        overall: for "single-label": `(case, class)` truth, scores, called -> `(case,)`, the contribution of each case
            to the number over all classes; None: the mean over the classes.
    """

    name: str
    better: Literal["higher", "lower"]
    says: str
    of: type[Any]
    over_weights: Callable[[Any], Array]
    rests_on: tuple[Amount, ...] = ("cases",)
    proportion: bool = False
    decides: bool = False
    symmetric: bool = False
    rate: bool = False
    ends: tuple[float, float] = (0.0, 1.0)
    overall: Callable[[NDArray[np.bool_], Array, NDArray[np.bool_]], Array] | None = None

    def __call__(self, *args: Any, **settings: Any) -> float:
        """The number of these data, every case counted once; the arguments are those of `of.ask`.

        Raises:
            UndefinedMetric: where the data do not define it, with the reason.

        >>> from overread.evaluation.classification import auroc
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
        """
        return self.value(self.of.ask(*args, **settings))

    def value(self, question: Question) -> float:
        """The number, every case counted once.

        Raises:
            UndefinedMetric: where the data do not define it, with the reason.
        """
        value = float(self.over_draws(question.drawn(np.ones((1, question.patients))))[0])
        if np.isnan(value):
            raise UndefinedMetric(self.reason(question))
        return value

    def over_draws(self, drawn: Drawn) -> Array:
        """`(draw,)`; NaN in the draws that lack what the number rests on."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = self.over_weights(drawn)
        for what in self.rests_on:
            values = np.where(drawn.amount(what) > 0, values, np.nan)
        return values

    def reason(self, question: Question) -> str:
        """Why the number is undefined for these data."""
        missing = [WORDS[what] for what in self.rests_on if question.patients_with(what) == 0]
        if missing:
            return f"undefined: {self.name} needs {' and '.join(missing)}; found none"
        return f"undefined: {self.name} has no value for these answers"


metrics: Catalogue[Metric] = Catalogue("metric", "overread.evaluation")


def metric(
    name: str,
    *,
    better: Literal["higher", "lower"],
    says: str,
    of: type[Any] = LabelQuestion,
    rests_on: tuple[Amount, ...] = ("cases",),
    proportion: bool = False,
    decides: bool = False,
    symmetric: bool = False,
    rate: bool = False,
    ends: tuple[float, float] = (0.0, 1.0),
    overall: Callable[[NDArray[np.bool_], Array, NDArray[np.bool_]], Array] | None = None,
) -> Callable[[Callable[[Any], Array]], Metric]:
    """Enter a function of weighted cases into the catalogue; the settings are those of `Metric`."""

    def enter(over_weights: Callable[[Any], Array]) -> Metric:
        made = Metric(
            name, better, says, of, over_weights, rests_on, proportion, decides, symmetric, rate, ends, overall
        )
        return metrics.add(name)(made)

    return enter


def metrics_of(kind: type[Any]) -> list[Metric]:
    """The metrics of one kind of question, such as `LabelQuestion`, sorted by name."""
    return [entry for entry in map(metrics.get, metrics) if entry.of is kind]
