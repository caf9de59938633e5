"""Pascal VOC: an XML file an image, boxes that count from 1 and include their last pixel."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError  # only the types; parsing is defusedxml's

from defusedxml import DefusedXmlException, ElementTree

from overread.data.manifest import Case, ImageRef, Manifest, Split
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.boxes import fitted
from overread.data.sources.files import case_ids, name_in, note_unknown, split_of
from overread.data.sources.headers import is_turned, patient_in_file, size_px
from overread.data.sources.rows import Files
from overread.data.sources.source import Source, sources
from overread.errors import SourceError
from overread.finding import Box, Finding, Region


@sources.add("voc")
class Voc(Source):
    """`Annotations/*.xml`, `JPEGImages/` and, for the splits, `ImageSets/Main/{train,val,test}.txt`."""

    layout = "a Pascal VOC folder with Annotations/*.xml and JPEGImages/"

    def recognises(self, path: Path) -> bool:
        return (path / "JPEGImages").is_dir() and bool(_files(path / "Annotations", "*.xml"))

    def read(self, path: Path) -> Manifest:
        annotations = _files(path / "Annotations", "*.xml")
        if not annotations or not (path / "JPEGImages").is_dir():
            raise SourceError(f"{path}: {self.layout} is expected; one of the two is missing or empty.")
        log = ProblemLog()
        lists = _files(path / "ImageSets" / "Main", "*.txt")
        splits = _splits(lists, {file.stem for file in annotations}, log)
        files = Files(path / "JPEGImages")
        ids = case_ids(file.stem for file in annotations)
        used = [*annotations, *lists]
        cases = []
        for file in annotations:
            root = _parse(file)
            image = _image(root, file, files, log)
            if image is None:
                log.add("label-without-file", file.name)
                continue
            used.append(image)
            if is_turned(image):
                log.add("turned-image", name_in(image, path))
            case_id = ids[file.stem]
            cases.append(
                Case(
                    case_id,
                    patient_in_file(image) or case_id,
                    (ImageRef(image),),
                    marks=_marks(root, file, image, log),
                    split=splits.get(file.stem),
                )
            )
        for image in {case.images[0].path for case in cases} & _named_twice(cases):
            log.add("file-named-twice", name_in(image, path))
        note_unknown(path, used, log)
        cases.sort(key=lambda case: case.case_id)
        classes = tuple(sorted({mark.label for case in cases for mark in case.truth_marks}))
        return Manifest(path.name, "voc", "boxes", classes, tuple(cases), log.problems())


def _files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in sorted(folder.glob(pattern)) if path.is_file()]


def _parse(file: Path) -> Element:
    try:
        root = ElementTree.parse(file).getroot()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # the last for an unknown encoding
        raise SourceError(f"{file}: an annotation in XML is expected; it cannot be read ({error}).") from error
    if root is None or root.tag != "annotation":
        raise SourceError(f"{file}: an <annotation> is expected; found another document.")
    return root


def _image(root: Element, file: Path, files: Files, log: ProblemLog) -> Path | None:
    """The image called like the annotation; only where there is none, the one that the annotation names."""
    by_stem = files.named(file.stem)
    by_text = files.named((root.findtext("filename") or "").strip())
    if len(by_stem) > 1:
        log.add("ambiguous-file", file.stem)
    if by_stem and by_text and by_text[0] not in by_stem:
        log.add("annotation-names-another-file", file.name, by_text[0].name)
    return next(iter(by_stem or by_text), None)


def _named_twice(cases: list[Case]) -> set[Path]:
    paths = [case.images[0].path for case in cases]
    return {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else set()


def _marks(root: Element, file: Path, image: Path, log: ProblemLog) -> tuple[Finding, ...]:
    size = size_px(image)
    marks = []
    for number, element in enumerate(root.findall("object"), start=1):
        name = (element.findtext("name") or "").strip()
        written = {edge: element.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")}
        try:
            left, top, right, bottom = (float(text or "") for text in written.values())
            if not all(map(math.isfinite, (left, top, right, bottom))):
                raise ValueError
        except ValueError as error:
            raise SourceError(f"{file}: object {number} needs four numbers in <bndbox>; found {written}.") from error
        if not name:
            raise SourceError(f"{file}: object {number} has no <name>.")
        # counted from 1, last pixel included: edges are one less at left and top
        box: Box = (left - 1, top - 1, right, bottom)
        inside = fitted(box, size)
        if inside != box:
            zero = "counts from 0" if min(left, top) < 1 else "too far right or down"
            log.add("box-clipped", f"{file.stem} object {number}", zero)
        marks.append(Finding(name, Region(inside)))
    return tuple(marks)


def _splits(lists: list[Path], stems: set[str], log: ProblemLog) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for file in lists:
        split = split_of(file.stem)
        if split is None:
            continue  # trainval.txt, and the lists of single classes
        for line in file.read_text(encoding="utf-8-sig").splitlines():
            stem = line.strip()
            if stem and stem not in stems:
                log.add("split-without-case", f"{file.name}: {stem}")
            elif stem and splits.setdefault(stem, split) != split:
                log.add("case-in-two-splits", stem)
    return splits
