"""MarkQuestion: where are the lesions of this class? All marks of all images, matched once and sorted by score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from overread.catalogue import suggestion
from overread.errors import InputError
from overread.evaluation.intervals import weighted_sums
from overread.evaluation.matching import Kind, greedy, overlaps, region_of, score_of
from overread.finding import Finding, Region

Array = NDArray[np.float64]
Marks = Mapping[str, Sequence[Finding]]
"""case id -> marks; an empty sequence says that nothing is there, or that nothing was found."""

COCO_IOUS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
MAX_DETECTIONS = 1000
"""Marks of one class and image that COCO's average precision looks at; COCO has 100, an image of cells has more."""

Threshold = float | Mapping[str, float]
"""The score from which on a mark is called: one for all images, or one a case id (each fold has its own)."""

_RECALLS = np.linspace(0, 1, 101)


def worded(threshold: Threshold) -> str:
    """An operating point as the account of a number says it: its value, or the span of those of the folds."""
    if not isinstance(threshold, Mapping):
        return f"{threshold:.4g}"
    values = sorted(set(threshold.values())) or [0.5]
    return f"{values[0]:.4g}" if len(values) == 1 else f"that of its fold, {values[0]:.4g} to {values[-1]:.4g}"


@dataclass(frozen=True, eq=False)
class MarkQuestion:
    """The marks of one class in all images; the predicted ones stand in the order of falling scores.

    Args:
        scores: `(mark,)` of the predicted marks, falling; of equal scores the earlier case id first, as in COCO.
        patient: `(mark,)`, index of the patient.
        rank: `(mark,)`, how many predicted marks of the class the same image has before it.
        matched: `(iou, mark)`, whether it matches a true mark at the IoUs of `ious`.
        overlap: `(mark,)`, with the true mark that it matches at the first of `ious`; 0 without one.
        ious: from which on marks belong together.
        truths: `(patient,)`, how many true marks each has.
        images: `(patient,)`, how many images each has.
        called: `(mark,)`, whether its score reaches the operating point of its image.
        max_detections: of one image, for COCO's average precision.
    """

    scores: Array
    patient: NDArray[np.intp]
    rank: NDArray[np.intp]
    matched: NDArray[np.bool_]
    overlap: Array
    ious: tuple[float, ...]
    truths: Array
    images: Array
    called: NDArray[np.bool_]
    max_detections: int

    @classmethod
    def ask(
        cls,
        truth: Marks,
        predicted: Marks,
        *,
        label: str,
        kind: Kind,
        threshold: float = 0.5,
        max_detections: int = MAX_DETECTIONS,
    ) -> Self:
        """The question about one class with every image a patient of its own."""
        own = {
            name: {case: [mark for mark in marks if mark.label == label] for case, marks in side.items()}
            for name, side in (("truth", truth), ("predicted", predicted))
        }
        patients = {case: case for case in truth}
        return cls.of_classes(
            own["truth"], own["predicted"], (label,), patients,
            kind=kind, threshold=threshold, max_detections=max_detections,
        )[0]  # fmt: skip

    @classmethod
    def of_classes(
        cls,
        truth: Marks,
        predicted: Marks,
        classes: Sequence[str],
        patients: Mapping[str, str],
        *,
        kind: Kind,
        threshold: Threshold = 0.5,
        max_detections: int = MAX_DETECTIONS,
        ious: tuple[float, ...] = COCO_IOUS,
    ) -> list[Self]:
        """One question for each class.

        Args:
            truth: the true marks of every case.
            predicted: the marks of the model, for the same cases.
            classes: every label that occurs.
            patients: case id -> patient.
            kind: how overlap is measured.
            threshold: a mark counts as called from this score on; one for all, or one a case id.
            max_detections: of one image and class, for COCO's average precision.
            ious: from which on marks belong together.

        Raises:
            InputError: for cases that only one side has, unknown labels, marks without region or score.
        """
        check_cases(truth, predicted, classes, patients)
        cases = sorted(truth)
        keys, of_case = np.unique(np.array([patients[case] for case in cases], dtype=str), return_inverse=True)
        images = np.bincount(of_case, minlength=len(keys)).astype(np.float64)
        questions = []
        for label in classes:
            true = [[region_of(mark) for mark in truth[case] if mark.label == label] for case in cases]
            said = [[mark for mark in predicted[case] if mark.label == label] for case in cases]
            scores, matched, overlap = (
                np.concatenate(part, axis=-1)
                for part in zip(
                    (np.empty(0), np.empty((len(ious), 0), dtype=bool), np.empty(0)),
                    *(_match_image(marks, regions, kind, ious) for marks, regions in zip(said, true, strict=True)),
                    strict=True,
                )
            )
            limits = [threshold[case] if isinstance(threshold, Mapping) else threshold for case in cases]
            called = scores >= np.repeat(np.array(limits, dtype=np.float64), [len(marks) for marks in said])
            order = np.argsort(-scores, kind="stable")
            rank = np.array([i for marks in said for i in range(len(marks))], dtype=np.intp)
            questions.append(
                cls(
                    scores=scores[order],
                    patient=np.repeat(of_case, [len(marks) for marks in said])[order],
                    rank=rank[order],
                    matched=matched[:, order],
                    overlap=overlap[order],
                    ious=ious,
                    truths=np.bincount(of_case, [len(regions) for regions in true], minlength=len(keys)).astype(
                        np.float64
                    ),
                    images=images,
                    called=called[order],
                    max_detections=max_detections,
                )
            )
        return questions

    @property
    def patients(self) -> int:
        """How many patients there are."""
        return len(self.images)

    @property
    def n_cases(self) -> int:
        """How many images there are, normal ones included."""
        return int(self.images.sum())

    @property
    def n_positive(self) -> int:
        """How many true marks there are."""
        return int(self.truths.sum())

    def at(self, iou: float) -> NDArray[np.bool_]:
        """`(mark,)`, whether a predicted mark matches a true one at this IoU, one of `ious`."""
        return np.asarray(self.matched[int(np.flatnonzero(np.isclose(self.ious, iou))[0])])

    def drawn(self, counts: Array) -> MarkDraws:
        """The question with every patient counted `counts` times, `(draw, patient)`."""
        return MarkDraws(self, counts)

    def patients_with(self, what: str) -> int:
        """How many patients have images, true marks or matched marks."""
        if what == "matches":
            return len(np.unique(self.patient[self.called & self.matched[0]]))
        return int(np.count_nonzero(self.truths if what == "truths" else self.images))


class MarkDraws:
    """A question with the weights of several draws.

    Args:
        question: the marks, matched and sorted.
        counts: `(draw, patient)`, how often each patient is counted.
    """

    def __init__(self, question: MarkQuestion, counts: Array) -> None:
        self.question = question
        self.counts = counts

    @cached_property
    def weights(self) -> Array:
        """`(draw, mark)`, how often each predicted mark is counted."""
        return self.counts.take(self.question.patient, axis=1)

    @cached_property
    def _sums(self) -> list[Array]:
        return weighted_sums(self.counts, np.stack([self.question.truths, self.question.images]))

    @property
    def truths(self) -> Array:
        """`(draw,)`, the weight of the true marks."""
        return self._sums[0]

    @property
    def called(self) -> Array:
        """`(draw,)`, the weight of the marks that are called."""
        return np.asarray(self.weights[:, self.question.called].sum(axis=1))

    def hits(self, iou: float) -> Array:
        """`(draw,)`, the weight of the called marks that match a true one at this IoU."""
        return np.asarray(self.weights[:, self.question.called & self.question.at(iou)].sum(axis=1))

    def amount(self, what: str) -> Array:
        """`(draw,)`, the weight of images, true marks or matched marks."""
        if what == "matches":
            return self.hits(self.question.ious[0])
        return self.truths if what == "truths" else self._sums[1]

    @cached_property
    def average_precisions(self) -> Array:
        """`(iou, draw)`, COCO's average precision at each of the IoUs, from 101 points of recall."""
        question = self.question
        kept = question.rank < question.max_detections
        weights = self.weights[:, kept]
        seen = np.cumsum(weights, axis=1)
        return np.stack([self._average_precision(weights, seen, row) for row in question.matched[:, kept]])

    def _average_precision(self, weights: Array, seen: Array, matched: NDArray[np.bool_]) -> Array:
        # Precision is highest, and recall rises, only where a mark matches: the other places need not be looked at.
        hits = np.flatnonzero(matched)
        found = np.cumsum(weights[:, hits], axis=1)
        precision = found / np.maximum(seen[:, hits], 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = found / self.truths[:, None]
        result = np.zeros(len(weights))
        for draw in range(len(weights)):
            first = np.searchsorted(recall[draw], _RECALLS, side="left")
            result[draw] = best[draw, first[first < len(hits)]].sum() / len(_RECALLS)
        return result


def _match_image(
    marks: Sequence[Finding], true: Sequence[Region], kind: Kind, ious: tuple[float, ...]
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Scores (falling), matched `(iou, mark)` and overlap at the first IoU, of one class in one image."""
    scores = np.array([score_of(mark) for mark in marks], dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    overlap = overlaps([region_of(marks[i]) for i in order], true, kind)
    found = greedy(overlap, ious)
    first = found[0]
    own = np.zeros(len(first))
    own[first >= 0] = overlap[np.flatnonzero(first >= 0), first[first >= 0]]
    return scores[order], found >= 0, own


def check_cases(truth: Marks, predicted: Marks, classes: Sequence[str], patients: Mapping[str, str]) -> None:
    """Refuse marks that cannot be measured.

    Raises:
        InputError: for cases that only one side has, cases without a patient, or unknown labels.
    """
    if alone := sorted(set(truth) ^ set(predicted)):
        raise InputError(
            f"Truth and predictions are of the same cases; {len(alone)} are on one side only, such as '{alone[0]}'. "
            "Give an empty sequence where nothing was found, and leave out refused cases on both sides."
        )
    if missing := sorted(set(truth) - set(patients)):
        raise InputError(f"{len(missing)} cases have no patient, such as '{missing[0]}'.")
    labels = {mark.label for side in (truth, predicted) for marks in side.values() for mark in marks}
    if unknown := sorted(labels - set(classes)):
        raise InputError(f"A mark has the class '{unknown[0]}'. {suggestion(unknown[0], list(classes))}")
