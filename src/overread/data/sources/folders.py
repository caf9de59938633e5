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
        other = None
        for file in walk(path):
            if {part.lower() for part in file.relative_to(path).parts[:-1]} & _OF_OTHER_LAYOUTS:
                return False
            if file.suffix.lower() in _TRUTH_OF_OTHER_LAYOUTS or is_table(file):
                other = other or file
        found = [image for _, folder in _class_folders(path) if (image := _first_image(folder))]
        if len(found) < 2 or (is_dicom(found[0]) and (other or tables_in(path.parent))):
            return False  # DICOM below folders and a table beside them: the folders are patients, not classes
        if other is not None:
            raise SourceError(
                f"{path}: its folders may be classes, but '{name_in(other, path)}' may say something else about the "
                "images. Take that file away, or choose --source folders."
            )
        return True

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
    """The folders of classes and the split that each lies in.

    Raises:
        SourceError: some folders are called like splits and others not: learned as classes, they would be nonsense.
    """
    top = [folder for folder in folders_in(path) if _first_image(folder)]
    splits = [folder for folder in top if split_of(folder.name)]
    others = [folder.name for folder in top if folder not in splits]
    if splits and others:
        raise SourceError(
            f"{path}: '{splits[0].name}' is called like a split of a data set and '{others[0]}' beside it is not. Take "
            f"'{others[0]}' away if the folders are splits; give '{splits[0].name}' another name if they are classes."
        )
    if splits:
        return [(split_of(folder.name), below) for folder in splits for below in folders_in(folder)]
    return [(None, folder) for folder in top]


def _first_image(folder: Path) -> Path | None:
    return next(filter(is_image, walk(folder)), None)
