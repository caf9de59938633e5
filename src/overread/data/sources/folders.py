"""A folder a class, with or without a train/val/test level above."""

from __future__ import annotations

from pathlib import Path

from overread.data.manifest import Case, ImageRef, Manifest, Split
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.files import (
    case_ids,
    folders_in,
    is_dicom,
    is_image,
    is_table,
    name_in,
    note_unknown,
    split_of,
    tables_in,
    walk,
)
from overread.data.sources.headers import patient_in_file
from overread.data.sources.source import Source, sources
from overread.errors import SourceError

_OF_OTHER_LAYOUTS = {"images", "labels", "masks", "annotations", "jpegimages", "imagesets"}
_TRUTH_OF_OTHER_LAYOUTS = (".json", ".xml", ".npz")


@sources.add("folders")
class Folders(Source):
    """A folder a class; images may lie deeper inside it."""

    layout = "a folder with at least two folders of images, one a class, or the same below train/ val/ test/"

    def recognises(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        for file in walk(path):
            folders = {part.lower() for part in file.relative_to(path).parts[:-1]}
            if file.suffix.lower() in _TRUTH_OF_OTHER_LAYOUTS or is_table(file) or folders & _OF_OTHER_LAYOUTS:
                return False
        firsts = [next(filter(is_image, walk(folder)), None) for _, folder in _class_folders(path)]
        found = [image for image in firsts if image]
        # DICOM below folders and a table beside them: the folders are patients, not classes
        return len(found) >= 2 and not (is_dicom(found[0]) and tables_in(path.parent))

    def read(self, path: Path) -> Manifest:
        if not path.is_dir():
            raise SourceError(f"{path}: a folder with a folder a class is expected; this is a file.")
        found = {
            image: (split, folder.name)
            for split, folder in _class_folders(path)
            for image in filter(is_image, walk(folder))
        }
        if not found:
            raise SourceError(f"{path}: a folder a class is expected; no folder in it holds an image.")
        classes = tuple(sorted({name for _, name in found.values()}))
        ids = case_ids(name_in(image, path) for image in found)
        log = ProblemLog()
        cases = []
        for image, (split, class_name) in found.items():
            case_id = ids[name_in(image, path)]
            cases.append(
                Case(
                    case_id,
                    patient_in_file(image) or case_id,
                    (ImageRef(image),),
                    labels={name: name == class_name for name in classes},
                    split=split,
                )
            )
        note_unknown(path, found, log)
        cases.sort(key=lambda case: case.case_id)
        return Manifest(path.name, "folders", "single-label", classes, tuple(cases), log.problems())


def _class_folders(path: Path) -> list[tuple[Split | None, Path]]:
    top = folders_in(path)
    if top and all(split_of(folder.name) for folder in top):
        return [(split_of(folder.name), below) for folder in top for below in folders_in(folder)]
    return [(None, folder) for folder in top]
