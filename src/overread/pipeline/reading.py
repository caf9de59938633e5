"""New images read with a trained model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from overread import io
from overread.bundle import Bundle
from overread.data.manifest import Case, ImageRef
from overread.data.sources.files import case_ids, is_image, walk
from overread.data.sources.headers import is_simulated
from overread.errors import InputError, UnreadableImage
from overread.export.content import ReportContent
from overread.export.overlay import file_names, write_overlay
from overread.export.reading import Reading
from overread.export.report import write_report
from overread.export.tables import write_frame_scores_csv, write_predictions_json
from overread.export.wording import first_names
from overread.finding import Prediction
from overread.inference.predictor import FreshImages
from overread.pipeline import presenting
from overread.pipeline.denoisers import load_with_denoisers
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
    named, left_out = _named(paths)
    ids = case_ids(named)
    cases = [Case(ids[name], ids[name], (ImageRef(file),)) for name, file in named.items()]
    ensemble, images = load_with_denoisers(bundle, weights, device=device, precision=precision), FreshImages()
    answers = progress.track(ensemble.predict(cases, images), what="reading", total=len(cases))
    predictions = [presenting.shown_marks(answer, bundle.threshold) for answer in answers]
    seen = set(bundle.seen)
    learned_from = {
        case.case_id
        for case, prediction in zip(cases, predictions, strict=True)
        if prediction.refused is None and digest_of([images.digests[ref] for ref in case.images]) in seen
    }
    readings = _Readings(bundle, list(named.items()), predictions, learned_from)
    rows = readings.without_pixels()
    write_predictions_json(folder / "predictions.json", rows)
    write_frame_scores_csv(folder / "frame_scores.csv", rows)
    names = file_names([prediction.case_id for prediction in predictions])
    for reading, name in zip(readings, names, strict=True):
        if reading.image is not None:
            write_overlay(reading, folder / name)
    content = ReportContent(
        title=f"Read with {bundle.name}",
        kind="reading",
        created=presenting.now(),
        model_simulated=bundle.simulated,
        measured=presenting.measured_words(bundle),
        commonest=presenting.commonest_class(bundle),
        readings=readings,
        environment=environment(),
        warnings=[*_learned_from_words(learned_from, ids), *_left_out_words(left_out)],
        notes=[bundle.intended_use],
        restores=bundle.task == "reconstruction",
    )
    write_report(folder / "report.html", content)
    for line in content.warnings:
        log.warning("%s", line)
    return predictions


class _Readings(Sequence[Reading]):
    """Readings whose pixels are read when they are looked at, so that a thousand images fit into memory."""

    def __init__(
        self,
        bundle: Bundle,
        named: Sequence[tuple[str, Path]],
        predictions: Sequence[Prediction],
        learned_from: Set[str],
    ) -> None:
        self._bundle = bundle
        self._named = named
        self._predictions = predictions
        self._learned_from = learned_from

    def __len__(self) -> int:
        return len(self._predictions)

    def __getitem__(self, index: int) -> Reading:  # type: ignore[override]
        return self._reading(index, pixels=True)

    def without_pixels(self) -> list[Reading]:
        return [self._reading(index, pixels=False) for index in range(len(self))]

    def _reading(self, index: int, *, pixels: bool) -> Reading:
        prediction, (name, file) = self._predictions[index], self._named[index]
        image = None
        if pixels and prediction.refused is None:
            try:
                image = io.read(file)
            except UnreadableImage:  # it was readable a moment ago: the answer stays, the picture is left out
                image = None
        return Reading(
            prediction,
            image,
            None,
            name,
            exclusive=self._bundle.task == "single-label",
            simulated=is_simulated(file),
            learned_from=prediction.case_id in self._learned_from,
            model_simulated=self._bundle.simulated,
            model=self._bundle.name,
            threshold=self._bundle.threshold if self._bundle.task in ("boxes", "masks") else None,
            marks_lesions=self._bundle.task in ("boxes", "masks"),
            classes=self._bundle.classes,
        )


def _named(paths: Sequence[Path]) -> tuple[dict[str, Path], list[Path]]:
    """Every image under the shortest end of its path that no other has, and the files of folders that are none.

    A folder stands for all files in it that are images or are called like one: what is damaged is refused by name.
    """
    files: dict[Path, Path] = {}
    left_out: list[Path] = []
    for path in paths:
        for file in walk(path) if path.is_dir() else [path]:
            if file is path or io.is_image(file) or is_image(file):
                files.setdefault(file.absolute(), file)
            else:
                left_out.append(file)
    if not files:
        raise InputError(
            f"There is no image in {', '.join(str(path) for path in paths)}. Name files or folders of images."
        )
    ends = Counter(end for file in files for end in _ends(file))
    return {next(end for end in _ends(file) if ends[end] == 1): shown for file, shown in files.items()}, left_out


def _ends(file: Path) -> list[str]:
    """Of a/b/c.png: c.png, b/c.png, a/b/c.png."""
    return ["/".join(file.parts[-count:]) for count in range(1, len(file.parts) + 1)]


def _learned_from_words(learned_from: Set[str], ids: Mapping[str, str]) -> list[str]:
    names = [name for name, case_id in ids.items() if case_id in learned_from]
    if not names:
        return []
    return [
        f"The model learned from {len(names)} of these {len(ids)} images, so that its answers to them look better than "
        f"it is: {first_names(names)}"
    ]


def _left_out_words(files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    named = first_names([file.name for file in files])
    return [f"{len(files)} files in these folders are no images and were not read: {named}"]
