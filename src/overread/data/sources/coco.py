"""COCO: images, categories and annotations in JSON, one file or one a split."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from overread.data.manifest import Case, ImageRef, Manifest, Split, Task
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.boxes import fitted
from overread.data.sources.files import case_ids, name_in, note_unknown, split_named_in, split_of
from overread.data.sources.headers import is_turned, patient_in_file, size_px
from overread.data.sources.rows import Files
from overread.data.sources.runs import run_length_mask
from overread.data.sources.source import Source, sources
from overread.errors import InputError, SourceError
from overread.finding import Finding, Mask, Region

_Entry = Mapping[str, Any]


@sources.add("coco")
class Coco(Source):
    """COCO annotations; boxes are (x, y, width, height), masks polygons or run lengths.

    An image entry may also say "split", "patient_id" and "site"; `info.simulated` marks simulated data. With
    a usable segmentation in every annotation the task is "masks", else "boxes".
    """

    layout = 'a COCO JSON file with "images", "annotations" and "categories", or a folder with such files and images'

    def recognises(self, path: Path) -> bool:
        return bool(_annotation_files(path))

    def read(self, path: Path) -> Manifest:
        files = _annotation_files(path)
        if not files:
            raise SourceError(f"{path}: {self.layout} is expected; there is none.")
        root = path if path.is_dir() else path.parent
        log = ProblemLog()
        cases: list[Case] = []
        categories: dict[str, int] = {}
        all_masks = True
        for file, content in files.items():
            _check_entries(content, file)
            names = _categories(content, file)
            for category_id, name in names.items():
                categories.setdefault(name, category_id)
            read, masks = _cases(content, names, file, root, log)
            cases += read
            all_masks = all_masks and masks
        images = [case.images[0].path for case in cases]
        ids = case_ids(name_in(image, root) for image in images)
        cases = [
            replace(case, case_id=case_id, patient_id=case.patient_id or case_id)
            for case in cases
            for case_id in (ids[name_in(case.images[0].path, root)],)
        ]
        used = {mark.label for case in cases for mark in case.truth_marks}
        for name in sorted(categories.keys() - used) if used else ():
            log.add("class-without-cases", name)
        classes = tuple(sorted(used or categories, key=lambda name: (categories[name], name)))
        cases = [replace(case, marks=_as_masks_or_boxes(case.truth_marks, masks=all_masks)) for case in cases]
        if path.is_dir():
            note_unknown(path, [*files, *images], log)
        simulated = any(_is_simulated(content) for content in files.values())
        cases.sort(key=lambda case: case.case_id)
        task: Task = "masks" if all_masks and used else "boxes"
        name = path.name if path.is_dir() else path.stem
        return Manifest(name, "coco", task, classes, tuple(cases), log.problems(), simulated)


def _annotation_files(path: Path) -> dict[Path, dict[str, Any]]:
    """The JSON files that are COCO annotations, with what they hold."""
    if path.is_file():
        near = [path] if path.suffix.lower() == ".json" else []
    else:
        near = [
            file for under in ("*.json", "annotations/*.json") for file in sorted(path.glob(under)) if file.is_file()
        ]
    found = {}
    for file in near:
        try:
            content = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:  # also for bytes that are no text
            raise SourceError(f"{file}: not JSON ({error}).") from error
        if isinstance(content, dict) and all(
            isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
        ):
            found[file] = content
    return found


def _check_entries(content: _Entry, file: Path) -> None:
    for key in ("images", "annotations", "categories"):
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise SourceError(f'{file}: "{key}" is expected to be a list of objects; an entry is something else.')
    fields = ("images", "id"), ("categories", "id"), ("annotations", "image_id"), ("annotations", "category_id")
    for key, name in fields:
        if any(isinstance(entry.get(name), list | dict) for entry in content[key]):
            raise SourceError(
                f'{file}: "{name}" in "{key}" is expected to be a number or a text; found a list or an object.'
            )
    ids = [str(image.get("id")) for image in content["images"]]
    if len(set(ids)) < len(ids) or not all("id" in image for image in content["images"]):
        raise SourceError(f"{file}: every image needs an id of its own; some ids are missing or there twice.")


def _is_simulated(content: _Entry) -> bool:
    info = content.get("info")
    return isinstance(info, dict) and info.get("simulated") is True


def _categories(content: _Entry, file: Path) -> dict[int, str]:
    try:
        names = {entry["id"]: str(entry["name"]).strip() for entry in content["categories"]}
    except (KeyError, TypeError) as error:
        raise SourceError(f"{file}: every category needs an id and a name; one has not ({error}).") from error
    if len(set(names.values())) < len(content["categories"]):
        raise SourceError(f"{file}: every category needs an id and a name of its own; found {sorted(names.values())}.")
    return names


def _cases(
    content: _Entry, names: Mapping[int, str], file: Path, root: Path, log: ProblemLog
) -> tuple[list[Case], bool]:
    """The cases of one file, and whether all its annotations have masks."""
    by_image: dict[Any, list[_Entry]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation.get("image_id"), []).append(annotation)
    strangers = by_image.keys() - {image.get("id") for image in content["images"]}
    if strangers:
        raise SourceError(
            f"{file}: {sum(len(by_image[image]) for image in strangers)} annotations belong to images that are not "
            f"listed, the first to image id {next(iter(strangers))!r}."
        )
    said = split_named_in(file.stem)
    places = _places(file, root, said)
    taken: set[Path] = set()
    cases, all_masks = [], True
    for entry in content["images"]:
        name = str(entry.get("file_name") or "")
        found = next((images for place in places if (images := place.named(name))), [])
        if not found:
            log.add("label-without-file", name or f"image id {entry.get('id')!r}")
            continue
        if len(found) > 1 or found[0] in taken:
            log.add("ambiguous-file" if len(found) > 1 else "file-named-twice", name)
            continue
        taken.add(found[0])
        image = found[0]
        if is_turned(image):
            log.add("turned-image", name)
        marks = [
            mark
            for annotation in by_image.get(entry["id"], ())
            if (mark := _mark(annotation, names, _size(entry, image), f"{file}: {name}", log)) is not None
        ]
        all_masks = all_masks and all(mark.region and mark.region.mask for mark in marks)
        patient = entry.get("patient_id")
        cases.append(
            Case(
                "",
                str(patient) if patient not in (None, "") else patient_in_file(image) or "",
                (ImageRef(image),),
                marks=tuple(marks),
                split=_split(entry, file) or said,
                site=str(entry["site"]) if entry.get("site") not in (None, "") else None,
            )
        )
    return cases, all_masks


def _places(file: Path, root: Path, split: Split | None) -> list[Files]:
    """The folders in which the images of an annotation file may lie, the nearest first."""
    bases = [file.parent, file.parent / "images", root, root / "images", file.parent.parent / "images"]
    of_split = [
        folder
        for base in dict.fromkeys(bases)
        if base.is_dir() and split is not None
        for folder in sorted(base.iterdir())
        if folder.is_dir() and split_named_in(folder.name) == split
    ]
    # the split's own folder first: train/1.png and val/1.png may both be "1.png"
    return [Files(folder) for folder in dict.fromkeys([*of_split, *bases]) if folder.is_dir()]


def _size(entry: _Entry, image: Path) -> tuple[int, int] | None:
    size = size_px(image)
    rows, columns = entry.get("height"), entry.get("width")
    if size is None and isinstance(rows, int) and isinstance(columns, int) and min(rows, columns) > 0:
        size = rows, columns
    return size


def _split(entry: _Entry, file: Path) -> Split | None:
    word = entry.get("split")
    if word in (None, ""):
        return None
    split = split_of(str(word))
    if split is None:
        raise SourceError(f"{file}: the split of an image is train, val or test; found {word!r}.")
    return split


def _mark(
    annotation: _Entry, names: Mapping[int, str], size: tuple[int, int] | None, where: str, log: ProblemLog
) -> Finding | None:
    number = annotation.get("id")
    if annotation.get("iscrowd"):
        log.add("crowd-annotation", f"annotation {number}")
        return None
    if annotation.get("category_id") not in names:
        raise SourceError(
            f"{where}: annotation {number} is of category {annotation.get('category_id')!r}, which is not listed."
        )
    name = names[annotation["category_id"]]
    mask = _mask(annotation.get("segmentation"), size, f"{where}: annotation {number}")
    if mask is not None and annotation.get("bbox") is None:
        return Finding(name, Region.from_mask(mask))
    try:
        left, top, width, height = _finite(annotation["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SourceError(
            f"{where}: annotation {number} needs a bbox of (x, y, width, height) or a segmentation; found "
            f"{repr(annotation.get('bbox'))[:80]}."
        ) from error
    box = (left, top, left + width, top + height)
    inside = fitted(box, size)
    if inside != box:
        log.add("box-clipped", f"annotation {number}")
    return Finding(name, Region(inside, mask))


def _mask(segmentation: Any, size: tuple[int, int] | None, where: str) -> Mask | None:
    """The mask of a segmentation; None where there is none."""
    if not segmentation:
        return None
    try:
        if isinstance(segmentation, dict):
            return run_length_mask(segmentation["counts"], segmentation["size"], size)
        polygons = [_finite(polygon) for polygon in segmentation]
        if size is None or any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
            return None
        for polygon in polygons:
            _require_near(polygon, size)
        return Mask.from_polygons(polygons, size)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, InputError) as error:
        raise SourceError(f"{where} has a segmentation that is no polygon and no run lengths ({error}).") from error


def _require_near(polygon: list[float], size: tuple[int, int]) -> None:
    """Refuse corners further out than the image is large: pycocotools walks all the way, or crashes on it."""
    rows, columns = size
    if not all(
        -columns <= x <= 2 * columns and -rows <= y <= 2 * rows
        for x, y in zip(polygon[::2], polygon[1::2], strict=True)
    ):
        raise ValueError(f"a corner lies far out of the image of {rows} x {columns} px")


def _finite(values: Any) -> list[float]:
    """A list of finite numbers as JSON has them; texts are none."""
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise TypeError("a list of numbers is expected")
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number is not finite")
    return numbers


def _as_masks_or_boxes(marks: tuple[Finding, ...], *, masks: bool) -> tuple[Finding, ...]:
    """The marks all with masks and the boxes around these, or all with the boxes that were written."""
    return tuple(
        replace(
            mark, region=Region.from_mask(mark.region.mask) if masks and mark.region.mask else Region(mark.region.box)
        )
        for mark in marks
        if mark.region is not None
    )
