"""A folder a case, with its image in `images/` and one binary image an instance in `masks/`."""

from __future__ import annotations

from pathlib import Path

from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.files import case_ids, folders_in, integer_pixels, is_image, name_in, note_unknown, walk
from overread.data.sources.headers import is_turned, patient_in_file
from overread.data.sources.source import Source, sources
from overread.errors import SourceError
from overread.finding import Finding, Mask, Region

_CLASS = "object"


@sources.add("instance-masks")
class InstanceMasks(Source):
    """A folder a case, as the Data Science Bowl 2018 was published; an empty `masks/` says that nothing is there."""

    layout = "a folder with a folder a case, each with images/ (one image) and masks/ (one binary image an instance)"

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and any(_is_case(folder) for folder in folders_in(path))

    def read(self, path: Path) -> Manifest:
        folders = [folder for folder in folders_in(path) if _is_case(folder)] if path.is_dir() else []
        if not folders:
            raise SourceError(f"{path}: {self.layout} is expected; no folder in it is like that.")
        log = ProblemLog()
        ids = case_ids(folder.name for folder in folders)
        used: list[Path] = []
        cases = []
        for folder in folders:
            images = [image for image in walk(folder / "images") if is_image(image)]
            masks = [mask for mask in walk(folder / "masks") if is_image(mask)]
            used += images + masks
            if len(images) != 1:
                log.add("not-one-image", folder.name, f"{len(images)} images")
                continue
            if is_turned(images[0]):
                log.add("turned-image", name_in(images[0], path))
            case_id = ids[folder.name]
            marks = _marks(masks, path, log)
            cases.append(Case(case_id, patient_in_file(images[0]) or case_id, (ImageRef(images[0]),), marks=marks))
        note_unknown(path, used, log)
        cases.sort(key=lambda case: case.case_id)
        return Manifest(path.name, "instance-masks", "masks", (_CLASS,), tuple(cases), log.problems())


def _is_case(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _marks(masks: list[Path], path: Path, log: ProblemLog) -> tuple[Finding, ...]:
    marks = []
    for file in masks:
        try:
            mask = Mask.from_array(integer_pixels(file) != 0)
        except SourceError as error:
            log.add("unreadable-truth", name_in(file, path), str(error))
            continue
        if mask.area_px == 0:
            log.add("empty-mask-left-out", name_in(file, path))
            continue
        marks.append(Finding(_CLASS, Region.from_mask(mask)))
    return tuple(marks)
