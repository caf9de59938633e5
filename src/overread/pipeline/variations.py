"""Pictures of what augmentation makes of images, one a named set and one of the recipe's own."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from overread.data.augment import augment
from overread.data.inputs import FilesAsRead, as_read, input_of
from overread.data.manifest import Case, Manifest
from overread.data.marks import PreparedMarks, prepared_marks
from overread.data.phantom import write_phantom
from overread.data.section import SETS, AugmentationSection
from overread.data.sources import open_data
from overread.errors import InputError
from overread.export.copies import Copy, Row, copies_sheet
from overread.finding import Finding, Mask, Region
from overread.image import Image
from overread.models.contract import Truths
from overread.preprocessing.step import fit_steps
from overread.provenance import seed_for
from overread.recipe import Recipe
from overread.writing import write_whole

IMAGES, COPIES = 3, 6


def write_variations(recipe: Recipe, data: Path | None, folder: Path, *, source: str | None) -> list[Path]:
    """Write one picture for each named set of augmentation, and `recipe.png` for that of the recipe.

    Args:
        recipe: its steps prepare the images.
        data: a data set, whose first images are shown; None: simulated CT.
        folder: is there and is empty.
        source: layout of the data set; None recognises it.

    Raises:
        InputError: nothing that can be pictured, or images that the recipe's steps do not fit.
    """
    if data is None:
        with tempfile.TemporaryDirectory(prefix="overread-") as made:
            phantom = write_phantom(Path(made) / "simulated-ct", patients=6, slices=2, size=192, seed=0)
            return _write(recipe, open_data(phantom.marks), folder)
    return _write(recipe, open_data(data, source=source), folder)


def _write(recipe: Recipe, manifest: Manifest, folder: Path) -> list[Path]:
    known = [case for case in manifest.cases if case.images and (case.marks is not None or not manifest.marks_lesions)]
    if manifest.simulated:  # half of them show nothing
        known.sort(key=lambda case: not case.marks)
    cases = known[:IMAGES]
    if not cases:
        raise InputError(f"'{manifest.name}' has no image that could be pictured. Name a data set of images.")
    steps = fit_steps(recipe.preprocessing.steps, lambda: filter(None, map(as_read, cases)))
    prepared = [(case, input_of(case, steps, FilesAsRead())) for case in cases]
    whose = "SIMULATED CT, which shows no patient" if manifest.simulated else f"the first images of '{manifest.name}'"
    sets = {name: AugmentationSection.model_validate({"set": name}) for name in SETS} | {"recipe": recipe.augmentation}
    written = []
    for name, section in sets.items():
        rows = [row for case, image in prepared for row in _rows(case, image, manifest, section, recipe.seed)]
        shown = f"Left: {whose}, as {recipe.name} prepares them."
        if len(rows) > len(cases):
            shown += " Of each volume a row a slice, from near its middle."
        picture = copies_sheet(rows, [_title(name, section, recipe), shown])
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        written.append(write_whole(folder / f"{name}.png", stream.getvalue()))
    return written


def _title(name: str, section: AugmentationSection, recipe: Recipe) -> str:
    settings = section.model_dump(exclude_defaults=True, exclude={"set"})
    said = ", ".join(f"{key} {value}" for key, value in settings.items()) or "nothing is varied"
    head = f"Augmentation of {recipe.name}" if name == "recipe" else f"Augmentation set '{name}'"
    return f"{head}: {said}."


def _rows(case: Case, image: Image, manifest: Manifest, section: AugmentationSection, seed: int) -> Iterator[Row]:
    """One row of a flat image; of a volume three, for three of its slices."""
    marks = None
    if manifest.marks_lesions and image.pixels.ndim == 3:
        marks = prepared_marks(case, image, manifest.classes, masks=manifest.task == "masks")
    copies = [
        _copy(image, marks, None, 0),
        *(_copy(image, marks, section, _seed(seed, n, case)) for n in range(COPIES)),
    ]
    scale = float(image.pixels.min()), float(image.pixels.max())
    if image.pixels.ndim == 3:
        yield Row(tuple(Copy(pixels, found) for pixels, found in copies), scale)
        return
    for number in sorted({image.shape[0] * eighths // 8 for eighths in (3, 4, 5)}):
        yield Row(tuple(Copy(pixels[:, number]) for pixels, _ in copies), scale)


def _seed(seed: int, number: int, case: Case) -> int:
    return seed_for(seed, "augment", number, case.case_id)


def _copy(
    image: Image, marks: PreparedMarks | None, section: AugmentationSection | None, seed: int
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], tuple[Finding, ...]]:
    pixels, truths = augment(image.pixels, marks, section, np.random.default_rng(seed))
    return pixels.numpy(), _findings(truths)


def _findings(truths: Truths | None) -> tuple[Finding, ...]:
    if truths is None:
        return ()
    masks = (
        [None] * len(truths.boxes)
        if truths.masks is None
        else [Mask.from_array(one.numpy() > 0) for one in truths.masks]
    )
    regions = (
        Region((box[0], box[1], box[2], box[3]), mask) for box, mask in zip(truths.boxes.tolist(), masks, strict=True)
    )
    return tuple(Finding("mark", region) for region in regions)
