"""Results turned into what a report shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overread.bundle import Bundle, Chosen
from overread.bundle_files import weights_bytes
from overread.data.inputs import as_read
from overread.data.manifest import Case, Manifest
from overread.errors import InputError, UndefinedMetric, UnreadableImage
from overread.evaluation.curves import confusion_matrix, froc
from overread.evaluation.estimate import Estimate
from overread.export.content import Confusion, FoldRow, FrocCurve, History, LabelCurves, SearchedRow
from overread.export.reading import Reading
from overread.export.wording import (
    first_names,
    score_words,
)
from overread.finding import Prediction
from overread.inference.assessment import Assessment
from overread.inference.restoring import restored_example
from overread.training.section import settings_words

if TYPE_CHECKING:  # a reading must not wait for what only training needs
    from overread.data.inputs import Images
    from overread.inference.predictor import Ensemble
    from overread.pipeline.searching import Search
    from overread.training.crossval import FittedFold


Example = tuple[str, Reading]
"""A caption and what it is about."""


def now() -> str:
    """The time in ISO 8601, to the second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def reading_of(
    case: Case,
    prediction: Prediction,
    manifest: Manifest,
    *,
    pixels: bool,
    fold: int | None = None,
    group: str | None = None,
    threshold: float | None = None,
    knows_only: str | None = None,
) -> Reading:
    """One case as the output formats want it; with its image as it was read, where pixels are needed."""
    image = None
    if pixels and prediction.refused is None and case.images:
        try:
            image = as_read(case)
        except (UnreadableImage, InputError):  # it was readable when it was predicted: the picture is left out
            image = None
    return Reading(
        prediction,
        image,
        case,
        case.case_id,
        fold=fold,
        group=group,
        threshold=threshold,
        exclusive=manifest.task == "single-label",
        simulated=manifest.simulated,
        marks_lesions=manifest.marks_lesions,
        classes=manifest.classes,
        unit=manifest.unit,
        knows_only=knows_only,
    )


def shown_marks(prediction: Prediction, threshold: float) -> Prediction:
    """The prediction without marks below the operating point, which are for curves and not for eyes."""
    kept = tuple(
        finding
        for finding in prediction.findings
        if finding.region is None or finding.score is None or finding.score >= threshold
    )
    return replace(prediction, findings=kept)


def examples_of(
    assessment: Assessment,
    folds: Mapping[str, int],
    *,
    ask: Callable[[Case], Ensemble],
    images: Images,
    seed: int,
    knows_only: str | None = None,
) -> Sequence[Example]:
    """The best, a middling and the worst cases, two of each where there are so many.

    Args:
        assessment: the cases.
        folds: case id -> the fold that tested it.
        ask: the networks that answered a case; they are asked again for what is kept of no other case, its pictures.
        images: where images come from.
        seed: of the noise, where the networks restore.
        knows_only: the one class that the networks learned from, where they know no other.
    """
    scores = assessment.case_scores()
    ordered = sorted(scores, key=lambda key: (scores[key], key))
    if not ordered:
        return ()
    middle = len(ordered) // 2
    places = {"worst": [0, 1], "median": [middle, middle - 1], "best": [-1, -2]}
    manifest = assessment.manifest
    what = {"reconstruction": "mean SSIM, restored"}.get(manifest.task, "score of the truth")
    what = "F1 of its marks" if manifest.marks_lesions else what
    words = score_words if manifest.labels_images else "{:.2f}".format  # others can be exactly 1, a score never is
    chosen: dict[str, str] = {}
    for word, indices in places.items():
        for index in indices:
            if -len(ordered) <= index < len(ordered):
                chosen.setdefault(ordered[index], f"{word}: {what} {words(scores[ordered[index]])}")
    return _Examples(assessment, folds, list(chosen.items()), ask=ask, images=images, seed=seed, knows_only=knows_only)


class _Examples(Sequence[Example]):
    """Examples whose pixels are read when they are looked at, so that only one volume at a time is in memory."""

    def __init__(
        self,
        assessment: Assessment,
        folds: Mapping[str, int],
        chosen: Sequence[tuple[str, str]],
        *,
        ask: Callable[[Case], Ensemble],
        images: Images,
        seed: int,
        knows_only: str | None,
    ) -> None:
        self._assessment = assessment
        self._folds = folds
        self._chosen = chosen
        self._ask = ask
        self._images = images
        self._seed = seed
        self._knows_only = knows_only

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        (key, caption), of = self._chosen[index], self._assessment
        case = next(case for case in of.manifest.cases if case.case_id == key)
        answer = shown_marks(of.predictions[key], of.threshold_of(key))
        restores = of.manifest.task == "reconstruction"
        fold = self._folds.get(key)
        reading = reading_of(case, answer, of.manifest, pixels=not restores, fold=fold, knows_only=self._knows_only)
        if restores:
            image, noisy, given = restored_example(self._ask(case), case, self._images, seed=self._seed)
            reading = replace(reading, image=image, noisy=noisy, prediction=replace(answer, restored=given))
        elif of.manifest.labels_images:
            (again,) = self._ask(case).predict([case], self._images)
            reading = replace(reading, prediction=replace(answer, heatmap=again.heatmap))
        return caption, reading


def curves_of(assessment: Assessment) -> LabelCurves | None:
    """For ROC and precision-recall curves; None for what has no labels."""
    if not assessment.manifest.labels_images or not assessment.manifest.cases:
        return None
    return LabelCurves(assessment.truth, assessment.scores, assessment.manifest.classes)


def confusion_of(assessment: Assessment) -> Confusion | None:
    """The confusion matrix, where exactly one class applies."""
    if assessment.manifest.task != "single-label" or not assessment.manifest.cases:
        return None
    classes = assessment.manifest.classes
    called = np.argmax(assessment.scores, axis=1)
    return Confusion(confusion_matrix(assessment.truth, called, len(classes)), classes)


def froc_of(assessment: Assessment) -> list[FrocCurve]:
    """The FROC curve of each class; empty for labels."""
    if assessment.manifest.task not in ("boxes", "masks"):
        return []
    curves = []
    for name in assessment.manifest.classes:
        truth = {key: [m for m in marks if m.label == name] for key, marks in assessment.true_marks.items()}
        found = {key: [m for m in marks if m.label == name] for key, marks in assessment.found_marks.items()}
        try:
            curve = froc(truth, found, kind=assessment.manifest.task)
        except UndefinedMetric:
            continue
        total = sum(len(marks) for marks in truth.values())
        curves.append(FrocCurve(name, curve.x, curve.y, len(truth), total))
    return curves


def history_of(fold: FittedFold) -> History:
    """How a fold's training went."""
    epochs = [
        {
            "epoch": record.epoch + 1,
            "train_loss": record.loss,
            "validation_score": record.score,
            "seconds": record.seconds,
        }
        for record in fold.fitted.history
    ]
    return History(fold.fold.index, epochs, fold.fitted.epoch + 1)


def row_of(fold: FittedFold) -> FoldRow:
    """Who was where in a fold."""
    parts = fold.fold
    return FoldRow(parts.index, len(parts.fit), len(parts.validation), len(parts.test), fold.fitted.epoch + 1)


def searched_row(fold: int, chosen: Chosen) -> SearchedRow:
    """What was chosen for a fold."""
    return SearchedRow(fold, settings_words(chosen.settings), chosen.score, chosen.n_trials, chosen.n_failed)


def search_json(searched: Mapping[int, Search]) -> list[dict[str, object]] | None:
    """What was tried inside each fold, in order, and what of it was chosen; None where nothing was searched."""
    told: list[dict[str, object]] = [
        {
            "fold": index,
            "chosen": dict(search.chosen.settings),
            "score": search.chosen.score,
            "inner_scores": list(search.chosen.inner_scores),
            "trials": [
                {"settings": dict(trial.settings), "score": trial.score, "failed": trial.failed}
                for trial in search.trials
            ],
        }
        for index, search in searched.items()
    ]
    return told or None


def model_json(bundle: Bundle, folder: Path) -> dict[str, float | None]:
    """What a model costs: seconds of training and bytes of weights of all its networks, parameters of the largest."""
    parameters = [record.n_parameters for record in bundle.folds]
    seconds = [record.training_seconds for record in bundle.folds]
    return {
        "n_networks": len(bundle.folds),
        "n_parameters": None if None in parameters else max(filter(None, parameters), default=None),
        "weights_bytes": weights_bytes(folder, bundle),
        "training_seconds": None if None in seconds else sum(filter(None, seconds)),
    }


def evaluation_json(
    assessment: Assessment,
    estimates: Sequence[Estimate],
    *,
    split: str | None,
    scheme: str,
    threshold: float,
    thresholds_of_folds: Mapping[int, float] | None = None,
    warnings: Sequence[str],
    refused: Sequence[Prediction],
    bundle_id: str | None,
    model: Mapping[str, float | None],
    search: Sequence[Mapping[str, object]] | None = None,
) -> dict[str, object]:
    """The content of `evaluation.json`: the estimates, and what they were made from.

    `threshold` is the operating point that a bundle reads with. In cross-validation no number rests on it, but on
    `threshold_of_each_fold`.
    """
    manifest = assessment.manifest
    of_folds = [value for _, value in sorted((thresholds_of_folds or {}).items())]
    return {
        "format": "overread-evaluation",
        "version": 1,
        "data": {
            "name": manifest.name,
            "source": manifest.source,
            "task": manifest.task,
            "unit": manifest.unit,
            "classes": list(manifest.classes),
            "fingerprint": manifest.fingerprint,
            "simulated": manifest.simulated,
            "split": split,
            "n_cases": len(manifest.cases),
            "n_patients": assessment.n_patients,
            "n_groups": assessment.n_groups,
            "names_patients": manifest.names_patients,
        },
        "scheme": scheme,
        "threshold": threshold if manifest.marks_lesions else None,
        "threshold_of_each_fold": of_folds if manifest.marks_lesions and of_folds else None,
        "bundle": bundle_id,
        "model": dict(model),
        "search": search,
        "warnings": list(warnings),
        "refused": [{"case_id": one.case_id, "reason": one.refused} for one in refused],
        "estimates": [estimate.as_json() for estimate in estimates],
    }


def readings_of(
    assessment: Assessment, refused: Sequence[Prediction], manifest: Manifest, folds: Mapping[str, int]
) -> Iterator[Reading]:
    """All predicted cases without pixels, for tables."""
    cases = {case.case_id: case for case in manifest.cases}
    for prediction in [*assessment.predictions.values(), *refused]:
        case = cases[prediction.case_id]
        yield reading_of(
            case,
            prediction,
            manifest,
            pixels=False,
            fold=folds.get(case.case_id),
            group=assessment.groups.get(case.case_id),
            threshold=assessment.threshold_of(case.case_id) if manifest.marks_lesions else None,
        )


def counted_words(assessment: Assessment) -> str:
    """That patients who share a picture count as one, where there are such."""
    if assessment.n_groups == assessment.n_patients:
        return ""
    manifest = assessment.manifest
    who = "Patients" if manifest.names_patients else f"{manifest.unit.capitalize()}s"
    shared = "the same picture, or nearly the same," if manifest.unit == "image" else "all measurements"
    return (
        f"{who} that share {shared} count as one in every interval: {assessment.n_patients} as {assessment.n_groups}."
    )


def doubts_of(predictions: Sequence[Prediction], names: Mapping[str, str] | None = None) -> list[str]:
    """What must be read before answers that may be wrong.

    Args:
        predictions: some of them with doubts.
        names: case id -> what people call it; by default its id.
    """
    doubted = [one for one in predictions if one.doubt is not None]
    if not doubted:
        return []
    called = [one.case_id if names is None else names[one.case_id] for one in doubted]
    return [
        f"The answers to {len(doubted)} of these {len(predictions)} images may be wrong: {first_names(called)}. Of the "
        f"first: {doubted[0].doubt}"
    ]


def warnings_of(refused: Sequence[Prediction], manifest: Manifest) -> list[str]:
    """What must be read before any number."""
    if not refused:
        return []
    named = first_names([one.case_id for one in refused])
    return [f"{len(refused)} {manifest.unit}s were refused and are in none of the numbers: {named}"]
