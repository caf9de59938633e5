"""From the rows of a table to cases: which image a row names, and what it says of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.problem_kinds import ProblemLog
from overread.data.sources import columns
from overread.data.sources.files import case_ids, folders_in, is_dicom, is_image, is_table, name_in, stem_of, tables_in
from overread.data.sources.headers import patient_in_file
from overread.data.sources.sequences import joined, tie
from overread.errors import SourceError
from overread.study import pseudonym

_IMAGE = (
    *("path", "filepath", "imagepath", "file", "filename", "imagefile", "imagefilename", "image", "img"),
    *("imagename", "imageid", "fileid", "id", "name"),
)
_OF_ANYTHING = ("id", "name")
_MOST_FOLDERS = 20
_LOOKS_LIKE_FILE = re.compile(r".+\.(png|jpe?g|tiff?|bmp|dcm|dicom|nii|nii\.gz)", re.IGNORECASE)


class Files:
    """The images of some folders, to be found as tables name them: with or without their folder and extension.

    Upper and lower case count only where they tell two files apart: tables come from systems that do not mind.
    """

    def __init__(self, *folders: Path, anywhere: bool = False) -> None:
        """Images in `folders` and in images/ there; `anywhere`: for want of any, in whatever folders lie there."""
        self.folders = tuple(dict.fromkeys(folders))
        self._listed: dict[Path, dict[str, list[Path]]] = {}
        self._elsewhere = _image_folders(self.folders) if anywhere else []

    def named(self, value: str) -> list[Path]:
        """The images that a value of a table may mean; more than one for a name that is ambiguous."""
        name = unicodedata.normalize("NFC", value.replace("\\", "/").removeprefix("./"))
        parts = name.split("/")
        if not name or not parts[-1]:
            return []
        if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:/", name):
            elsewhere = (self.folders[0] / name).resolve()
            return [elsewhere] if elsewhere.is_file() and is_image(elsewhere) else []
        places = (place for folder in self.folders for place in (folder, folder / "images"))
        found = next((found for place in places if (found := self._below(place, parts))), [])
        return found or [path for place in self._elsewhere for path in self._below(place, parts)]

    def _below(self, folder: Path, parts: list[str]) -> list[Path]:
        for part in parts[:-1]:
            there = self._list(folder).get(part.lower(), [])
            folder = next((path for path in there if path.is_dir() and path.name == part), None) or next(
                filter(Path.is_dir, there), folder / part
            )
        there = self._list(folder).get(parts[-1].lower(), [])
        found = [path for path in there if path.is_file() and is_image(path)]
        names = {path: unicodedata.normalize("NFC", path.name) for path in found}
        for alike in (  # the first way of writing it that any file has
            lambda name: name == parts[-1],
            lambda name: name.lower() == parts[-1].lower(),
            lambda name: stem_of(name) == parts[-1],
        ):
            if same := [path for path in found if alike(names[path])]:
                return same
        return found

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        """Every entry of a folder under its name and under its name without extension, both in lower case."""
        if folder not in self._listed:
            names: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                name = unicodedata.normalize("NFC", path.name)
                for key in {name.lower(), stem_of(name).lower()}:
                    names.setdefault(key, []).append(path)
            self._listed[folder] = names
        return self._listed[folder]


def _image_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders that lie in `folders`, where no image lies in these or in images/ there.

    Else an image that is lost would be found among masks or other pictures that are called alike.
    """
    places = [place for folder in folders for place in (folder, folder / "images") if place.is_dir()]
    if any(is_image(path) for place in places for path in place.iterdir()):
        return []
    found = [below for folder in folders if folder.is_dir() for below in folders_in(folder)]
    return found if len(found) <= _MOST_FOLDERS else []


def table_of(path: Path) -> Path | None:
    """The table that a path means: itself, or the only one directly in the folder; None where there is none.

    Raises:
        SourceError: several tables.
    """
    found = [path] if path.is_file() and is_table(path) else tables_in(path) if path.is_dir() else []
    if len(found) > 1:
        raise SourceError(
            f"{path}: one table is expected; found {', '.join(table.name for table in found)}. Give the one to use as "
            "DATA, or take the others away."
        )
    return found[0] if found else None


def image_column(table: pd.DataFrame, files: Files) -> str | None:
    """The column whose values are image files, or for want of one that is called and looks so; None: no such one.

    Raises:
        SourceError: several columns name different files and none is called like a path, or there is no line of names.
    """
    for column in table.columns:
        if columns.canonical(column) not in _IMAGE and files.named(column):
            raise SourceError(
                f"A table is expected whose first line names the columns; it names the image '{column}'. Put a line "
                "above it, such as file,label."
            )
    there = {column: sum(bool(files.named(value)) for value in table[column]) for column in table.columns}
    full = [column for column in table.columns if there[column] * 2 >= sum(table[column] != "") > 0]
    called = [column for name in _IMAGE for column in table.columns if columns.canonical(column) == name]
    if len(full) == 1:
        return full[0]
    if full:
        for column in called:
            if column in full:
                return column
        raise SourceError(f"Columns {', '.join(full)} all name images. Call the one to learn from 'file'.")
    some = [column for column in called if there[column] or table[column].map(_looks_like_file).all()]
    return some[0] if some else None


def names_images(table: pd.DataFrame) -> bool:
    """Whether a column is called as only images and files are."""
    names = {columns.canonical(name) for name in table.columns}
    return bool(names & set(_IMAGE) - set(_OF_ANYTHING))


def images_of_rows(values: pd.Series, files: Files, log: ProblemLog) -> dict[int, Path]:
    """Row -> image, for the rows whose image is there; the others are named in the log."""
    images: dict[int, Path] = {}
    taken: dict[Path, int] = {}
    for row, value in enumerate(values):
        found = files.named(value)
        if not found:
            log.add("label-without-file", value or f"row {row + 1}")
        elif len(found) > 1:
            log.add("ambiguous-file", value)
        elif found[0] in taken:
            log.add("file-named-twice", value)
        else:
            images[row] = found[0]
            taken[found[0]] = row
    return images


def manifest_of_rows(
    table: pd.DataFrame,
    images: Mapping[int, tuple[Path, ...]],
    file: Path,
    log: ProblemLog,
    *,
    source: str,
    naming: list[str],
    ids: dict[int, str] | None = None,
) -> Manifest:
    """The manifest of a table whose rows were matched with images.

    Args:
        table: as from `tabular.read_table`.
        images: row -> its images; other rows are left out. Rows of one examination become one case, see `sequences`.
        file: the table's path.
        log: is told what is met.
        source: the name of the layout.
        naming: the columns that name the image.
        ids: row -> case id; by default made from the image's path.
    """
    kept = table.iloc[list(images)]
    rows = list(images.values())
    tied = tie(table, list(images), str if ids is None else pseudonym, log)
    besides = [*naming, *tied.columns]
    truth = columns.truth(kept, file, log, besides=besides)
    patients = columns.patients(kept)
    if ids is None:
        by_name = case_ids(name_in(paths[0], file.parent) for paths in rows)
        names = [by_name[name_in(paths[0], file.parent)] for paths in rows]
    else:
        names = [ids[row] for row in images]
    said = columns.attributes(kept, besides=[*besides, *truth.columns])
    splits, sites = columns.splits(kept, file), columns.sites(kept)
    cases = []
    for position, (case_id, paths) in enumerate(zip(names, rows, strict=True)):
        patient = patient_in_file(paths[0]) if patients is None else patients[position]
        if patient is None and patients is not None and patient_in_file(paths[0]) is not None:
            log.add("patient-in-file-only", case_id)  # other images of this patient may stand under the table's name
        elif patient is None and (patients is not None or is_dicom(paths[0])):
            log.add("patient-not-known", case_id)
        if None in truth.labels[position].values():
            log.add("unknown-label", case_id)
        cases.append(
            Case(
                case_id,
                patient or case_id,
                tuple(ImageRef(path) for path in paths),
                labels=truth.labels[position],
                split=splits[position],
                site=sites[position],
                attributes=said[position],
            )
        )
    cases = joined(cases, tied, log)
    cases.sort(key=lambda case: case.case_id)
    taken = {"image": tuple(naming), **tied.taken, "label": truth.columns, **columns.taken(kept)}
    return Manifest(file.stem, source, truth.task, truth.classes, tuple(cases), log.problems(), columns=taken)


def _looks_like_file(value: str) -> bool:
    return not value or _LOOKS_LIKE_FILE.fullmatch(value) is not None
