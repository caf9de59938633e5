"""How well the marks of an image, taken together, tell images with a class from images without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from overread.evaluation import classification
from overread.evaluation.labels import LabelDraws, LabelQuestion
from overread.evaluation.marks import Marks, Threshold, check_cases, worded
from overread.evaluation.matching import score_of
from overread.evaluation.measured import Measured, measured_by_class
from overread.evaluation.metric import metric, metrics_of

Array = NDArray[np.float64]


class ImageQuestion(LabelQuestion):
    """One class, truly marked in the image or not; the score of an image is that of its highest mark of the class."""


@metric(
    "image_auroc",
    better="higher",
    says="area under the ROC curve of images by their highest mark, equal scores count half",
    of=ImageQuestion,
    rests_on=("positives", "negatives"),
    proportion=True,
)
def image_auroc(drawn: LabelDraws) -> Array:
    """The chance that the highest mark of an image with the class is above that of one without."""
    return classification.auroc.over_weights(drawn)


@metric(
    "image_sensitivity",
    better="higher",
    says="share of the images with a true mark of the class that are called, wherever their mark lies",
    of=ImageQuestion,
    rests_on=("positives",),
    proportion=True,
    decides=True,
)
def image_sensitivity(drawn: LabelDraws) -> Array:
    """Of the images that show it, the share that is called."""
    return classification.sensitivity.over_weights(drawn)


@metric(
    "image_specificity",
    better="higher",
    says="share of the images without a true mark of the class that are not called",
    of=ImageQuestion,
    rests_on=("negatives",),
    proportion=True,
    decides=True,
)
def image_specificity(drawn: LabelDraws) -> Array:
    """Of the images that do not show it, the share that is left alone."""
    return classification.specificity.over_weights(drawn)


def image_level_measured(
    truth: Marks,
    predicted: Marks,
    classes: Sequence[str],
    patients: Mapping[str, str],
    *,
    threshold: Threshold,
    draws: int,
    seed: int,
) -> list[Measured]:
    """Every metric of images by their highest mark, mean of the classes first, then class by class.

    An image shows a class where it has a true mark of it; it is called where its highest mark of the class reaches
    the operating point. Whether a mark lies on a true one is not asked: that is what the metrics of marks measure.

    Args:
        truth: case id -> true marks.
        predicted: case id -> the model's marks with scores, for the same cases.
        classes: every label that occurs.
        patients: case id -> patient.
        threshold: the operating point; one for all, or one a case id.
        draws: bootstrap draws over patients.
        seed: of the draws.

    Returns:
        A number that the data do not define is NaN, and the reason stands in `says`: where every image shows a class,
        nothing can be told apart.

    Raises:
        InputError: for cases that only one side has, unknown labels, or marks without score.
    """
    check_cases(truth, predicted, classes, patients)
    cases = list(truth)
    names, patient = np.unique([patients[case] for case in cases], return_inverse=True)
    points = np.array([threshold[case] if isinstance(threshold, Mapping) else threshold for case in cases])
    questions = []
    for label in classes:
        shows = np.array([any(mark.label == label for mark in truth[case]) for case in cases], dtype=bool)
        scored = [[score_of(mark) for mark in predicted[case] if mark.label == label] for case in cases]
        highest = np.array([max(scores, default=0.0) for scores in scored], dtype=np.float64)
        # an image without any mark is never called, also at an operating point of 0
        reached = (highest >= points) & np.array([bool(scores) for scores in scored], dtype=bool)
        questions.append(ImageQuestion.sorted(shows, highest, reached, patient, len(names)))
    called = f"called where the highest mark has a score of at least {worded(threshold)}"
    showing = sum(any(mark.label in classes for mark in truth[case]) for case in cases)
    return measured_by_class(
        metrics_of(ImageQuestion),
        questions,
        classes,
        says=lambda m: f"{m.says}; {called}" if m.decides else m.says,
        patients=len(names),
        size=max(len(cases), 1),
        draws=draws,
        seed=seed,
        total={"n_cases": len(cases), "n_patients": len(names), "n_positive": showing},
    )
