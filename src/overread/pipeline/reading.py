"""New images read with a trained model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from overread.bundle import Bundle
from overread.data.inputs import as_read
from overread.data.manifest import Case, ImageRef
from overread.data.sources.files import case_ids
from overread.data.sources.headers import is_simulated
from overread.errors import InputError, UnreadableImage
from overread.evaluation.estimate import Estimate
from overread.export.content import ReportContent
from overread.export.overlay import file_names, write_overlay
from overread.export.reading import Reading
from overread.export.report import write_report
from overread.export.tables import write_frame_scores_csv, write_predictions_json
from overread.export.wording import first_names, worsened_words
from overread.finding import Prediction
from overread.image import Image
from overread.inference.predictor import FreshImages
from overread.pipeline import presenting
from overread.pipeline.assembly import knows_only
from overread.pipeline.denoisers import load_with_denoisers, worsened_by_denoisers
from overread.pipeline.given import given
from overread.pipeline.model_words import healthy_classes, measured_words
from overread.preprocessing.step import Step
from overread.progress import Progress
from overread.provenance import digest_of, environment
from overread.training.computing import Precision

log = logging.getLogger(__name__)


def read_images(
    bundle: Bundle,
    weights: Path,
    paths: Sequence[Path],
    folder: Path,
    *,
    device: str,
    precision: Precision | None,
    progress: Progress,
) -> list[Prediction]:
    """Predict every image, and write predictions, an overlay an image and the report.

    Raises:
        InputError: no image was named.
    """
    named = given(paths, tables=bundle.axes == 3)
    ids = case_ids([*named.images, *named.refused])
    cases = {ids[name]: Case(ids[name], ids[name], refs) for name, refs in named.images.items()}
    images = _Whole(set(named.lone)) if bundle.of_several else FreshImages()
    ensemble = load_with_denoisers(bundle, weights, device=device, precision=precision)
    answers = progress.track(ensemble.predict(list(cases.values()), images), what="reading", total=len(cases))
    predictions = [presenting.shown_marks(answer, bundle.threshold) for answer in answers]
    seen = set(bundle.seen)
    learned_from = {
        one.case_id
        for one in predictions
        if one.refused is None and digest_of([images.digests[ref] for ref in cases[one.case_id].images]) in seen
    }
    predictions += [
        Prediction(ids[name], refused=why, bundle_id=bundle.bundle_id) for name, why in named.refused.items()
    ]
    called = {case_id: name for name, case_id in ids.items()}
    alone = knows_only(bundle.recipe, bundle.task)
    readings = _Readings(bundle, cases, called, predictions, learned_from)
    rows = readings.without_pixels()
    write_predictions_json(folder / "predictions.json", rows)
    write_frame_scores_csv(folder / "frame_scores.csv", rows)
    names = file_names([prediction.case_id for prediction in predictions])
    for reading, name in zip(readings, names, strict=True):
        if reading.image is not None:
            write_overlay(reading, folder / name)
    worsened = worsened_words([Estimate(**row) for row in bundle.evaluation])
    content = ReportContent(
        title=f"Read with {bundle.name}",
        kind="reading",
        created=presenting.now(),
        model_simulated=bundle.simulated,
        measured=measured_words(bundle, knows_only=alone),
        healthy=healthy_classes(bundle, knows_only=alone),
        readings=readings,
        environment=environment(),
        warnings=[
            *worsened,
            *worsened_by_denoisers(bundle.folds[0].steps),
            *_learned_from_words(learned_from, ids),
            *presenting.doubts_of(predictions, called),
            *named.warnings,
        ],
        notes=[bundle.intended_use],
        knows_only=alone,
        restores=bundle.task == "reconstruction",
    )
    write_report(folder / "report.html", content)
    for line in content.warnings:
        log.warning("%s", line)
    return predictions


class _Whole(FreshImages):
    """Images for a model whose cases had several: one that lies alone is part of a case, and no case.

    Args:
        lone: files that are tied to no others.
    """

    def __init__(self, lone: Set[Path]) -> None:
        super().__init__()
        self._lone = lone

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        """The image after `steps`.

        Raises:
            UnreadableImage: the file cannot be read.
            InputError: a flat image that is tied to no others.
        """
        image = super().get(ref, steps)
        if ref.path in self._lone and image.pixels.ndim == 3:
            raise InputError(
                f"{image.source.name}: the cases that this model learned from have several images or slices each; this "
                "is one flat image alone. Read a table that names, in columns 'file', 'case' and 'order', the images "
                "of each examination, or a file that holds all of its slices."
            )
        return image


class _Readings(Sequence[Reading]):
    """Readings whose pixels are read when they are looked at, so that a thousand images fit into memory."""

    def __init__(
        self,
        bundle: Bundle,
        cases: Mapping[str, Case],
        names: Mapping[str, str],
        predictions: Sequence[Prediction],
        learned_from: Set[str],
    ) -> None:
        self._bundle = bundle
        self._cases = cases
        self._names = names
        self._knows_only = knows_only(bundle.recipe, bundle.task)
        self._predictions = predictions
        self._learned_from = learned_from

    def __len__(self) -> int:
        return len(self._predictions)

    def __getitem__(self, index: int) -> Reading:  # type: ignore[override]
        return self._reading(index, pixels=True)

    def without_pixels(self) -> list[Reading]:
        return [self._reading(index, pixels=False) for index in range(len(self))]

    def _reading(self, index: int, *, pixels: bool) -> Reading:
        prediction = self._predictions[index]
        case, image = self._cases.get(prediction.case_id), None
        if pixels and prediction.refused is None and case is not None:
            with suppress(UnreadableImage):  # it was readable a moment ago: the answer stays, the picture is left out
                image = as_read(case)
        return Reading(
            prediction,
            image,
            None,
            self._names[prediction.case_id],
            exclusive=self._bundle.task == "single-label",
            simulated=case is not None and any(is_simulated(ref.path) for ref in case.images),
            learned_from=prediction.case_id in self._learned_from,
            model_simulated=self._bundle.simulated,
            model=self._bundle.name,
            threshold=self._bundle.threshold if self._bundle.task in ("boxes", "masks") else None,
            marks_lesions=self._bundle.task in ("boxes", "masks"),
            classes=self._bundle.classes,
            knows_only=self._knows_only,
        )


def _learned_from_words(learned_from: Set[str], ids: Mapping[str, str]) -> list[str]:
    names = [name for name, case_id in ids.items() if case_id in learned_from]
    if not names:
        return []
    return [
        f"The model learned from {len(names)} of these {len(ids)} images, so that its answers to them look better than "
        f"it is: {first_names(names)}"
    ]
