"""`images/` and `labels/`: an integer label map an image, one number an instance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.files import (
    case_ids,
    integer_pixels,
    is_image,
    name_in,
    note_unknown,
    stem_of,
    walk,
)
from overread.data.sources.headers import is_turned, patient_in_file
from overread.data.sources.runs import masks_of
from overread.data.sources.source import Source, sources
from overread.errors import SourceError
from overread.finding import Finding, Region

_CLASS_FILE = "class.txt"


@sources.add("label-maps")
class LabelMaps(Source):
    """Images and label maps of the same names; `class.txt` may name what is marked, else it is "object".

    A JSON file beside them, {image name without extension: text}, becomes an attribute named after it.
    """

    layout = "a folder with images/ and labels/, a label map (PNG or TIFF, 0 background, 1..n instances) an image"

    def recognises(self, path: Path) -> bool:
        images, labels = path / "images", path / "labels"
        return images.is_dir() and labels.is_dir() and any(map(is_image, walk(labels)))

    def read(self, path: Path) -> Manifest:
        images, labels = _by_stem(path / "images"), _by_stem(path / "labels")
        if not images or not labels:
            raise SourceError(f"{path}: {self.layout} is expected; one of the two is missing or empty.")
        log = ProblemLog()
        attributes = _attributes(path)
        used = [path / _CLASS_FILE, *attributes]
        class_name = _class_name(path)
        ids = case_ids(images)
        cases = []
        for stem in sorted(images):
            if stem not in labels:
                continue  # named below as an image without label
            used += [images[stem], labels[stem]]
            try:
                marks = _marks(labels[stem], class_name)
            except SourceError as error:
                log.add("unreadable-truth", name_in(labels[stem], path), str(error))
                continue
            said = {
                json_file.stem.removesuffix("s"): texts[stem]
                for json_file, texts in attributes.items()
                if stem in texts
            }
            case_id, image = ids[stem], images[stem]
            if is_turned(image):
                log.add("turned-image", name_in(image, path))
            cases.append(
                Case(case_id, patient_in_file(image) or case_id, (ImageRef(image),), marks=marks, attributes=said)
            )
        for stem in sorted(labels.keys() - images.keys()):
            used.append(labels[stem])
            log.add("label-without-file", name_in(labels[stem], path))
        note_unknown(path, used, log)
        cases.sort(key=lambda case: case.case_id)
        return Manifest(path.name, "label-maps", "masks", (class_name,), tuple(cases), log.problems())


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in filter(is_image, walk(folder)) if folder.is_dir() else ():
        stem = stem_of(name_in(path, folder))
        if stem in found:
            raise SourceError(f"{folder}: '{stem}' is there twice, with different extensions. Keep one of them.")
        found[stem] = path
    return found


def _class_name(path: Path) -> str:
    file = path / _CLASS_FILE
    if not file.is_file():
        return "object"
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != 1:
        raise SourceError(f"{file}: one line with the name of the class is expected; found {len(names)}.")
    return names[0]


def _marks(label_map: Path, class_name: str) -> tuple[Finding, ...]:
    pixels = integer_pixels(label_map)
    if pixels.size and pixels.min() < 0:
        raise SourceError(f"{label_map.name}: 0 for the background and 1..n are expected; found {pixels.min()}.")
    return tuple(Finding(class_name, Region.from_mask(mask)) for mask in masks_of(pixels).values())


def _attributes(path: Path) -> Mapping[Path, dict[str, str]]:
    found = {}
    for file in filter(Path.is_file, sorted(path.glob("*.json"))):
        try:
            texts = json.loads(file.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{file}: not JSON ({error}).") from error
        if isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values()):
            found[file] = texts
    return found
