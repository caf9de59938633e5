"""New images read with a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from overread import io
from overread.bundle import Bundle
from overread.data.manifest import ImageRef
from overread.errors import InputError, UnreadableImage
from overread.export.content import ReportContent
from overread.export.overlay import file_names, write_overlay
from overread.export.reading import Reading
from overread.export.report import write_report
from overread.export.tables import write_predictions_json
from overread.finding import Prediction
from overread.inference.predictor import FreshImages
from overread.pipeline import presenting
from overread.pipeline.assembly import load_ensemble
from overread.progress import Progress
from overread.provenance import environment


def read_images(
    bundle: Bundle, weights: Path, paths: Sequence[Path], folder: Path, *, device: str, progress: Progress
) -> list[Prediction]:
    """Predict every image, and write predictions, an overlay an image and the report.

    Raises:
        InputError: no image was named.
    """
    refs = _refs(paths)
    ensemble = load_ensemble(bundle, weights, device=device)
    answers = progress.track(ensemble.predict(refs, FreshImages()), what="reading", total=len(refs))
    predictions = [presenting.shown_marks(answer, bundle.threshold) for answer in answers]
    readings = _Readings(bundle, [ref for _, ref in refs], predictions)
    write_predictions_json(folder / "predictions.json", readings.without_pixels())
    names = file_names([prediction.case_id for prediction in predictions])
    for reading, name in zip(readings, names, strict=True):
        if reading.image is not None:
            write_overlay(reading, folder / name)
    content = ReportContent(
        title=f"Read with {bundle.name}",
        kind="reading",
        created=presenting.now(),
        simulated=bundle.simulated,
        readings=readings,
        recipe_toml=None,
        environment=environment(),
        notes=[bundle.intended_use],
    )
    write_report(folder / "report.html", content)
    return predictions


class _Readings(Sequence[Reading]):
    """Readings whose pixels are read when they are looked at, so that a thousand images fit into memory."""

    def __init__(self, bundle: Bundle, refs: Sequence[ImageRef], predictions: Sequence[Prediction]) -> None:
        self._bundle = bundle
        self._refs = refs
        self._predictions = predictions

    def __len__(self) -> int:
        return len(self._predictions)

    def __getitem__(self, index: int) -> Reading:  # type: ignore[override]
        return self._reading(index, pixels=True)

    def without_pixels(self) -> list[Reading]:
        return [self._reading(index, pixels=False) for index in range(len(self))]

    def _reading(self, index: int, *, pixels: bool) -> Reading:
        prediction, ref = self._predictions[index], self._refs[index]
        image = None
        if pixels and prediction.refused is None:
            try:
                image = io.read(ref.path, item=ref.item)
            except UnreadableImage:  # it was readable a moment ago: the answer stays, the picture is left out
                image = None
        return Reading(
            prediction,
            image,
            None,
            prediction.case_id,
            exclusive=self._bundle.task == "single-label",
            simulated=self._bundle.simulated,
        )


def _refs(paths: Sequence[Path]) -> list[tuple[str, ImageRef]]:
    """Every image with a name of its own; a folder stands for the images in it."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.is_file() and io.is_image(file))
        else:
            files.append(path)
    if not files:
        raise InputError(
            f"There is no image in {', '.join(str(path) for path in paths)}. Name files or folders of images."
        )
    stems: dict[str, int] = {}
    refs = []
    for file in files:
        count = stems[file.stem] = stems.get(file.stem, 0) + 1
        refs.append((file.stem if count == 1 else f"{file.stem}-{count}", ImageRef(file)))
    return refs
