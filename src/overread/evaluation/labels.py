"""LabelQuestion: is this class present in the image? Truth and scores of all cases, sorted once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overread.errors import InputError
from overread.evaluation.intervals import weighted_sums

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelQuestion:
    """One class, present or absent; the cases stand in the order of falling scores.

    Args:
        truth: `(case,)`, present or absent.
        scores: `(case,)` in [0, 1], falling.
        called: `(case,)`, whether the decision is "present".
        patient: `(case,)`, index of the patient.
        patients: how many patients there are, with those who have no case here.
    """

    truth: NDArray[np.bool_]
    scores: Array
    called: NDArray[np.bool_]
    patient: NDArray[np.intp]
    patients: int

    @classmethod
    def ask(cls, truth: ArrayLike, scores: ArrayLike, *, threshold: float = 0.5) -> Self:
        """The question with every case a patient of its own.

        Args:
            truth: `(case,)` of 0 and 1.
            scores: `(case,)` in [0, 1].
            threshold: present is called from this score on.

        Raises:
            InputError: where the two do not fit together or hold other numbers.
        """
        truth, scores = np.asarray(truth), np.asarray(scores, dtype=np.float64)
        if truth.ndim != 1 or truth.shape != scores.shape or not np.isin(truth, (0, 1)).all():
            raise InputError(
                f"Truth is (case,) of 0 and 1, scores (case,); found shapes {truth.shape} and {scores.shape}, "
                f"truth values {np.unique(truth)[:5].tolist()}."
            )
        check_scores(scores)
        return cls.sorted(truth.astype(bool), scores, scores >= threshold, np.arange(len(truth)), len(truth))

    @classmethod
    def sorted(
        cls,
        truth: NDArray[np.bool_],
        scores: Array,
        called: NDArray[np.bool_],
        patient: NDArray[np.intp],
        patients: int,
    ) -> Self:
        """The question from cases in any order."""
        order = np.argsort(-scores, kind="stable")
        return cls(truth[order], scores[order], called[order], patient[order], patients)

    @property
    def n_cases(self) -> int:
        """How many cases there are."""
        return len(self.truth)

    @property
    def n_positive(self) -> int:
        """How many cases are positive."""
        return int(self.truth.sum())

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """`(group,)`, the first case of each group of equal scores."""
        first = np.ones(len(self.scores), dtype=bool)
        first[1:] = self.scores[1:] != self.scores[:-1]
        return np.flatnonzero(first)

    @cached_property
    def sums(self) -> Array:
        """`(6, case)`: one, positive, true positive, called, right, squared error."""
        truth, called = self.truth, self.called
        rows = (np.ones(len(truth)), truth, truth & called, called, truth == called, (self.scores - truth) ** 2)
        return np.stack([np.asarray(row, dtype=np.float64) for row in rows])

    def drawn(self, counts: Array) -> LabelDraws:
        """The question with every patient counted `counts` times, `(draw, patient)`."""
        return LabelDraws(self, counts.take(self.patient, axis=1))

    def patients_with(self, what: str) -> int:
        """How many patients have cases, positives or negatives."""
        chosen = {"cases": np.ones_like(self.truth), "positives": self.truth, "negatives": ~self.truth}[what]
        return len(np.unique(self.patient[chosen]))


class LabelDraws:
    """A question with the case weights of several draws.

    Args:
        question: truth and scores, sorted.
        weights: `(draw, case)`, how often each case is counted.
    """

    def __init__(self, question: LabelQuestion, weights: Array) -> None:
        self.question = question
        self.weights = weights

    def amount(self, what: str) -> Array:
        """`(draw,)`, the weight of the cases, positives or negatives."""
        return {"cases": self.cases, "positives": self.positives, "negatives": self.cases - self.positives}[what]

    @cached_property
    def _sums(self) -> list[Array]:
        return weighted_sums(self.weights, self.question.sums)

    @property
    def cases(self) -> Array:
        """`(draw,)`, the weight of all cases."""
        return self._sums[0]

    @property
    def positives(self) -> Array:
        """`(draw,)`, the weight of the positive cases."""
        return self._sums[1]

    @property
    def negatives(self) -> Array:
        """`(draw,)`, the weight of the negative cases."""
        return self.cases - self.positives

    @property
    def true_positives(self) -> Array:
        """`(draw,)`, the weight of the positive cases that were called present."""
        return self._sums[2]

    @property
    def called(self) -> Array:
        """`(draw,)`, the weight of the cases that were called present."""
        return self._sums[3]

    @property
    def right(self) -> Array:
        """`(draw,)`, the weight of the cases that were called rightly."""
        return self._sums[4]

    @property
    def squared_error(self) -> Array:
        """`(draw,)`, the weighted sum of the squared differences of score and truth."""
        return self._sums[5]

    @cached_property
    def positives_at(self) -> Array:
        """`(draw, group)`, the weight of the positive cases at each score, from the highest score on."""
        return self._by_score(self.weights * self.question.truth)

    @cached_property
    def negatives_at(self) -> Array:
        """`(draw, group)`, the weight of the negative cases at each score, from the highest score on."""
        return self._by_score(self.weights * ~self.question.truth)

    @cached_property
    def positives_from(self) -> Array:
        """`(draw, group)`, the weight of the positive cases with this score or a higher one."""
        return np.cumsum(self.positives_at, axis=1)

    def _by_score(self, weights: Array) -> Array:
        starts = self.question.starts
        if len(starts) == weights.shape[1]:  # no ties: a case is its own group
            return weights
        return np.asarray(np.add.reduceat(weights, starts, axis=1))


def check_scores(scores: Array) -> None:
    """Refuse scores that are no scores.

    Raises:
        InputError: where one is not a number in [0, 1].
    """
    wrong = ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        raise InputError(
            f"Scores are numbers from 0 to 1; found {np.count_nonzero(wrong)} others, such as {scores[wrong][0]}. "
            "Look at the output of the model before it is measured."
        )
