"""What a report says, before it has a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from overread.data.manifest import Manifest, Problem
from overread.evaluation.estimate import Estimate
from overread.export.reading import Reading


@dataclass(frozen=True, eq=False)
class LabelCurves:
    """What ROC and precision-recall curves are drawn from.

    Args:
        truth: `(case,)` class indices, or `(case, class)` with 1, 0 and NaN for not known.
        scores: `(case, class)` in [0, 1].
        classes: the names, in the order of `scores`.
    """

    truth: NDArray[np.generic]
    scores: NDArray[np.floating]
    classes: tuple[str, ...]

    def of_class(self, index: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """(truth, score) of the cases whose truth about that class is known, each `(case,)`."""
        score = np.asarray(self.scores[:, index], dtype=np.float64)
        if self.truth.ndim == 1:
            return np.asarray(self.truth == index), score
        truth = np.asarray(self.truth[:, index], dtype=np.float64)
        known = ~np.isnan(truth)
        return truth[known] > 0.5, score[known]


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """How many true marks are found at how many false marks an image.

    Args:
        class_name: which class; None: all of them.
        false_marks: `(point,)`, mean number of false marks an image, rising.
        sensitivity: `(point,)`, share of the true marks that are found, in [0, 1].
        n_images: how many images it rests on.
        n_marks: how many true marks.
    """

    class_name: str | None
    false_marks: NDArray[np.floating]
    sensitivity: NDArray[np.floating]
    n_images: int
    n_marks: int


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often which class was taken for which.

    Args:
        counts: `(true class, predicted class)`, numbers of cases.
        classes: the names, in the order of `counts`.
        rule: how a class was chosen from the scores, in words.
    """

    counts: NDArray[np.integer]
    classes: tuple[str, ...]
    rule: str = "the class with the highest score"


@dataclass(frozen=True)
class History:
    """How the training of one fold went.

    Args:
        fold: which one.
        epochs: one mapping an epoch, with `epoch`, `train_loss`, `validation_score` (None where not measured),
            `seconds`.
        chosen: the epoch whose weights were kept.
    """

    fold: int
    epochs: Sequence[Mapping[str, float | None]]
    chosen: int | None = None

    @property
    def validated(self) -> bool:
        """Whether a validation score was measured in any epoch."""
        return any(row.get("validation_score") is not None for row in self.epochs)


@dataclass(frozen=True)
class FoldRow:
    """Who was where in one fold, in numbers of cases.

    Args:
        fold: which one.
        n_fit: cases that the weights were fitted on.
        n_validation: cases that chose what was not fitted, such as the epoch.
        n_test: cases that were measured on; they had no part in fitting.
        chosen_epoch: the epoch whose weights were kept.
    """

    fold: int
    n_fit: int
    n_validation: int
    n_test: int
    chosen_epoch: int | None = None


@dataclass(frozen=True)
class SearchedRow:
    """What was chosen inside one fold.

    Args:
        fold: which one.
        settings: that were chosen, in words.
        score: mean of the inner scores with them.
        n_trials: how many settings were tried.
        n_failed: of how many of them training left the numbers.
    """

    fold: int
    settings: str
    score: float
    n_trials: int
    n_failed: int = 0


@dataclass(frozen=True, eq=False)
class ReportContent:
    """All that a report says; what is empty is left out.

    Args:
        title: of the page.
        kind: "training" (measured on held-out parts of the same data set), "evaluation" (other data with truth),
            "reading" (new images without truth).
        created: when, as ISO 8601.
        unit: what a case is called: an "image", or a "row" of measurements, which has no picture.
        headline: the answer in one sentence; None makes it from the first estimate over all classes and cases whose
            metric does not depend on a decision, or from the readings.
        warnings: what must be seen before any number, such as a leak or cases that were seen in training.
        simulated: whether the images of the data set are simulated; each reading says it of its own.
        model_simulated: whether the model of an "evaluation" or a "reading" learned from simulated images.
        manifest: the data set.
        problems: what was found wrong with it.
        estimates: the numbers, in the order in which they are to be shown.
        n_patients: of how many patients the measured cases are.
        n_groups: how many that are where those who share a picture count as one, as in every interval.
        thresholds: the scores from which a mark counted: one, or one a fold; empty for labels.
        curves: for ROC and precision-recall curves.
        froc: for FROC curves.
        confusion: the confusion matrix.
        histories: one a fold.
        folds: one a fold.
        searched: what was chosen inside each fold, where settings were searched.
        examples: (caption, reading) of cases worth seeing, such as the best, a middling and the worst one.
        measured: how good the model of a "reading" was found to be, in sentences.
        healthy: the classes of the model of a "reading" that are no disease; images that look least like them come
            first. Empty where that is not known.
        readings: all images of a "reading". It is gone through once, one image at a time, so that a lazy sequence
            need not hold all pixels.
        recipe_toml: the recipe in full.
        environment: name -> version.
        notes: more sentences for "What this cannot say".
        restores: whether it is about a model that gives images back.
        knows_only: the one class that the model learned from, where it judges all else by how unlike it is.
    """

    title: str
    kind: Literal["training", "evaluation", "reading"]
    created: str
    unit: Literal["image", "row"] = "image"
    headline: str | None = None
    warnings: Sequence[str] = ()
    simulated: bool = False
    model_simulated: bool = False
    manifest: Manifest | None = None
    problems: Sequence[Problem] = ()
    estimates: Sequence[Estimate] = ()
    n_patients: int = 0
    n_groups: int = 0
    thresholds: Sequence[float] = ()
    curves: LabelCurves | None = None
    froc: Sequence[FrocCurve] = ()
    confusion: Confusion | None = None
    histories: Sequence[History] = ()
    folds: Sequence[FoldRow] = ()
    searched: Sequence[SearchedRow] = ()
    examples: Sequence[tuple[str, Reading]] = ()
    measured: Sequence[str] = ()
    healthy: Sequence[str] = ()
    readings: Sequence[Reading] = ()
    recipe_toml: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    restores: bool = False
    knows_only: str | None = None
