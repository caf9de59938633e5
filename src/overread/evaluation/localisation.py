"""How well lesions are marked: metrics of boxes and masks, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from overread.errors import UndefinedMetric
from overread.evaluation.estimate import Estimate
from overread.evaluation.marks import MAX_DETECTIONS, MarkDraws, MarkQuestion, Marks, Threshold, worded
from overread.evaluation.matching import FOUND_IOU, Kind
from overread.evaluation.measured import Measured, measured_by_class
from overread.evaluation.metric import Metric, metric, metrics_of

Array = NDArray[np.float64]


@metric(
    "coco_ap",
    better="higher",
    says="average precision as in COCO, mean over IoU 0.50 to 0.95",
    of=MarkQuestion,
    rests_on=("truths",),
)
def coco_ap(drawn: MarkDraws) -> Array:
    """COCO's AP (Lin et al., ECCV 2014)."""
    return np.asarray(drawn.average_precisions.mean(axis=0))


@metric(
    "coco_ap50", better="higher", says="average precision as in COCO at IoU 0.50", of=MarkQuestion, rests_on=("truths",)
)
def coco_ap50(drawn: MarkDraws) -> Array:
    """COCO's AP50."""
    return np.asarray(drawn.average_precisions[0])


@metric(
    "coco_ap75", better="higher", says="average precision as in COCO at IoU 0.75", of=MarkQuestion, rests_on=("truths",)
)
def coco_ap75(drawn: MarkDraws) -> Array:
    """COCO's AP75."""
    return np.asarray(drawn.average_precisions[5])


def _threat(drawn: MarkDraws, iou: float) -> Array:
    """TP / (TP + FP + FN) of all images together."""
    hits = drawn.hits(iou)
    return hits / (drawn.called + drawn.truths - hits)


@metric(
    "tp_ap_50",
    better="higher",
    says="TP / (TP + FP + FN) of all images together at IoU 0.5",
    of=MarkQuestion,
    rests_on=("truths",),
    decides=True,
)
def tp_ap_50(drawn: MarkDraws) -> Array:
    """What nucleus segmentation calls average precision (Schmidt et al., MICCAI 2018), at IoU 0.5."""
    return _threat(drawn, 0.5)


@metric(
    "tp_ap_70",
    better="higher",
    says="TP / (TP + FP + FN) of all images together at IoU 0.7",
    of=MarkQuestion,
    rests_on=("truths",),
    decides=True,
)
def tp_ap_70(drawn: MarkDraws) -> Array:
    """As `tp_ap_50`, at IoU 0.7."""
    return _threat(drawn, 0.7)


@metric(
    "tp_ap_90",
    better="higher",
    says="TP / (TP + FP + FN) of all images together at IoU 0.9",
    of=MarkQuestion,
    rests_on=("truths",),
    decides=True,
)
def tp_ap_90(drawn: MarkDraws) -> Array:
    """As `tp_ap_50`, at IoU 0.9."""
    return _threat(drawn, 0.9)


@metric(
    "marks_found",
    better="higher",
    says=f"share of the true marks that a mark matches at IoU {FOUND_IOU}",
    of=MarkQuestion,
    rests_on=("truths",),
    decides=True,
)
def marks_found(drawn: MarkDraws) -> Array:
    """How many lesions are found: the sensitivity, lesion by lesion."""
    return drawn.hits(FOUND_IOU) / drawn.truths


@metric(
    "false_marks",
    better="lower",
    says=f"marks that match no true mark at IoU {FOUND_IOU}, mean number an image",
    of=MarkQuestion,
    decides=True,
    rate=True,
    ends=(0.0, np.inf),
)
def false_marks(drawn: MarkDraws) -> Array:
    """At which price lesions are found: marks that lie on none, or on one that has a surer mark already."""
    return (drawn.called - drawn.hits(FOUND_IOU)) / drawn.amount("cases")


@metric(
    "instance_dice",
    better="higher",
    says="mean Dice of the marks that match at IoU 0.5; misses and false marks do not lower it",
    of=MarkQuestion,
    rests_on=("truths", "matches"),
    decides=True,
)
def instance_dice(drawn: MarkDraws) -> Array:
    """How well a found lesion is outlined; Dice = 2 IoU / (1 + IoU)."""
    called = drawn.question.called
    overlap = drawn.question.overlap[called]
    return np.asarray(drawn.weights[:, called] @ (2 * overlap / (1 + overlap)) / drawn.hits(0.5))


def localisation_estimates(
    truth: Marks,
    predicted: Marks,
    classes: Sequence[str],
    patients: Mapping[str, str],
    *,
    kind: Literal["boxes", "masks"],
    threshold: Threshold,
    draws: int,
    level: float,
    seed: int,
    max_detections: int = MAX_DETECTIONS,
    subgroup: str | None = None,
) -> list[Estimate]:
    """The numbers of `localisation_measured` with intervals of a `level`; `subgroup` is what to call these cases."""
    measured = localisation_measured(
        truth, predicted, classes, patients,
        kind=kind, threshold=threshold, draws=draws, seed=seed, max_detections=max_detections,
    )  # fmt: skip
    return [one.estimate(level=level, subgroup=subgroup) for one in measured]


def localisation_measured(
    truth: Marks,
    predicted: Marks,
    classes: Sequence[str],
    patients: Mapping[str, str],
    *,
    kind: Literal["boxes", "masks"],
    threshold: Threshold,
    draws: int,
    seed: int,
    max_detections: int = MAX_DETECTIONS,
) -> list[Measured]:
    """Every metric of marks, over all classes first, then class by class, with bootstrap draws of patients.

    Marks are matched once, image by image, from the highest score on; a draw only changes how often a patient counts.

    Args:
        truth: case id -> true marks; empty for a normal image, whose predicted marks are all false.
        predicted: case id -> the model's marks with scores, for the same cases.
        classes: every label that occurs.
        patients: case id -> patient.
        kind: whether boxes or masks are compared.
        threshold: the operating point: a mark is called from this score on; one for all, or one a case id where each
            fold chose its own. COCO's metrics look at all scores.
        draws: bootstrap draws over patients.
        seed: of the draws; equal seeds draw the same patients, whatever the marks.
        max_detections: of one class and image, for COCO's metrics.

    Returns:
        A number that the data do not define is NaN, and the reason stands in `says`.

    Raises:
        InputError: for cases that only one side has, unknown labels, marks without region, mask or score.
    """
    questions = MarkQuestion.of_classes(
        truth, predicted, classes, patients, kind=kind, threshold=threshold, max_detections=max_detections
    )
    called = f"marks with a score of at least {worded(threshold)}"
    n_patients = questions[0].patients if questions else 0
    n_marks = sum(question.n_positive for question in questions)

    def says(m: Metric) -> str:
        point = called if m.decides else f"at most {max_detections} marks of a class in an image"
        return f"{m.says}; {kind}, {point}"

    return measured_by_class(
        metrics_of(MarkQuestion),
        questions,
        classes,
        says=says,
        patients=n_patients,
        size=max((len(question.scores) for question in questions), default=1),
        draws=draws,
        seed=seed,
        total={"n_cases": len(truth), "n_patients": n_patients, "n_positive": n_marks},
    )


def choose_threshold(truth: Marks, predicted: Marks, kind: Kind) -> float:
    """The score from which on marks should be called: the one with the best `tp_ap_50`, mean over the classes.

    Choose it on validation data and never on the data that are reported on: a threshold that is chosen where it is
    measured looks better than it is.

    Args:
        truth: case id -> true marks.
        predicted: case id -> the model's marks with scores, for the same cases.
        kind: how overlap is measured.

    Returns:
        One of the scores; of equally good ones the highest, which calls the fewest marks.

    Raises:
        UndefinedMetric: where there is no true mark, or no predicted mark meets one at any threshold.
    """
    labels = sorted({mark.label for side in (truth, predicted) for marks in side.values() for mark in marks})
    questions = [
        question
        for question in MarkQuestion.of_classes(
            truth, predicted, labels, {case: case for case in truth}, kind=kind, ious=(0.5,)
        )
        if question.n_positive
    ]
    if not any(question.matched.any() for question in questions):
        raise UndefinedMetric("No threshold can be chosen: there is no true mark, or no predicted mark meets one.")
    candidates = np.unique(np.concatenate([question.scores for question in questions]))[::-1]
    total = np.zeros(len(candidates))
    for question in questions:
        called = np.searchsorted(-question.scores, -candidates, side="right")
        hits = np.concatenate([[0], np.cumsum(question.matched[0])])[called]
        total += hits / (called + question.n_positive - hits)
    return float(candidates[np.argmax(total)])
