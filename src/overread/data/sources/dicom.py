"""DICOM instances, however nested, and one table that names them by UID or file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset

from overread.data.manifest import Manifest
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.columns import column_called, names_uids
from overread.data.sources.files import is_dicom, name_in, note_unknown, walk
from overread.data.sources.headers import dicom_header, numbers_of, text_of
from overread.data.sources.rows import Files, image_column, images_of_rows, manifest_of_rows, table_of
from overread.data.sources.source import Source, sources
from overread.data.sources.tabular import read_table
from overread.errors import SourceError
from overread.study import pseudonym

_INSTANCE = ("sopinstanceuid", "instanceuid", "sopuid")
_SERIES = ("seriesinstanceuid", "seriesuid")


@dataclass(frozen=True)
class _Instance:
    path: Path
    uid: str
    series_uid: str
    frames: int
    place: tuple[float, float]
    """Along the normal of the slices where known, then by Instance Number."""


@sources.add("dicom")
class Dicom(Source):
    """DICOM files and a table with a column of SOP Instance UIDs, Series Instance UIDs or files.

    The table lies in the folder, beside it, or is itself DATA. Where it names no patient, the pseudonym of the
    header's Patient ID is the patient. A series is one case with its images in order.
    """

    layout = (
        "a folder of DICOM files and one CSV or Parquet table (in it or beside it) naming UIDs or files, and labels"
    )

    def recognises(self, path: Path) -> bool:
        file, folder = _located(path)
        if file is None:
            return False
        table = read_table(file)
        if not any(map(is_dicom, walk(folder))):
            return False
        if any(names_uids(table[column]) for column in table.columns):
            return True
        column = image_column(table, files := Files(file.parent, folder))
        images = [] if column is None else [image for value in table[column] for image in files.named(value)]
        return bool(images) and sum(map(is_dicom, images)) * 2 > len(images)

    def read(self, path: Path) -> Manifest:
        file, folder = _located(path)
        if file is None:
            raise SourceError(f"{path}: {self.layout} is expected; there is no table.")
        table, log = read_table(file), ProblemLog()
        instances = _instances(folder, log)
        files = Files(file.parent, folder)
        column, key = _naming(table, instances, files, file)
        if key == "file":
            by_path = {instance.path: instance for instance in instances}
            named = images_of_rows(table[column], files, log)
            rows = {row: [by_path[image]] for row, image in named.items() if image in by_path}
            for image in named.values():
                if image not in by_path:
                    log.add("label-without-file", image.name, "no DICOM image in the data set's folder")
        else:
            rows = _by_uid(table[column], instances, key, log)
        kept = {
            row: tuple(instance.path for instance in found)
            for row, found in rows.items()
            if not _multi_frame(found, folder, log)
        }
        if not kept:
            raise SourceError(
                f"{file}: none of the {len(table)} entries in column '{column}' fits a usable DICOM file below "
                f"{folder} ({len(instances)} DICOM files there). Check that table and files belong together."
            )
        if key == "series":
            ids = {row: pseudonym(rows[row][0].series_uid, prefix="S") for row in kept}
        else:  # not the file's name: exports put patients into it
            ids = {row: pseudonym(rows[row][0].uid, prefix="I") for row in kept}
        for row, paths in kept.items():
            if len(paths) > 1:
                log.add("several-images-a-case", ids[row], f"{len(paths)} images")
        if path.is_dir():
            used = [instance.path for found in rows.values() for instance in found]
            note_unknown(folder, [file, *used], log)
        return manifest_of_rows(table, kept, file, log, source="dicom", naming=[column], ids=ids)


def _located(path: Path) -> tuple[Path | None, Path]:
    """The table and the folder of the images; None where no table is near."""
    file = table_of(path)
    if file is not None:
        return file, file.parent
    return (table_of(path.parent) if path.is_dir() and any(map(is_dicom, walk(path))) else None), path


def _instances(folder: Path, log: ProblemLog) -> list[_Instance]:
    instances = []
    for path in filter(is_dicom, walk(folder)):
        header = dicom_header(path)
        uid = text_of(header, "SOPInstanceUID")
        if uid is None:
            log.add("unreadable-file", name_in(path, folder), "no SOP Instance UID")
            continue
        instances.append(
            _Instance(
                path,
                uid,
                text_of(header, "SeriesInstanceUID") or uid,
                int(next(iter(numbers_of(header, "NumberOfFrames")), 1)),
                (_along_normal(header), next(iter(numbers_of(header, "InstanceNumber")), 0.0)),
            )
        )
    return instances


def _along_normal(header: Dataset | None) -> float:
    """How far a slice lies along the normal of its plane, in mm (PS3.3 C.7.6.2.1.1); 0 where it is not said."""
    position, orientation = numbers_of(header, "ImagePositionPatient"), numbers_of(header, "ImageOrientationPatient")
    if len(position) != 3 or len(orientation) != 6:
        return 0.0
    return float(np.cross(orientation[:3], orientation[3:]) @ np.array(position))


def _naming(table: pd.DataFrame, instances: list[_Instance], files: Files, file: Path) -> tuple[str, str]:
    """The column that names the images, and by what: "instance", "series" or "file"."""
    known = {"instance": {each.uid for each in instances}, "series": {each.series_uid for each in instances}}
    for key, names in (("instance", _INSTANCE), ("series", _SERIES)):
        called = column_called(table, names)
        by_content = [column for column in table.columns if table[column].isin(known[key]).any()]
        if called is not None or by_content:
            return called if called is not None else by_content[0], key
    column = image_column(table, files)
    if column is None:
        raise SourceError(
            f"{file}: a column named SOPInstanceUID, SeriesInstanceUID or file is expected; found columns "
            f"{', '.join(table.columns)}."
        )
    return column, "file"


def _by_uid(values: pd.Series, instances: list[_Instance], key: str, log: ProblemLog) -> dict[int, list[_Instance]]:
    by_uid: dict[str, list[_Instance]] = {}
    for instance in sorted(instances, key=lambda each: each.place):
        by_uid.setdefault(instance.uid if key == "instance" else instance.series_uid, []).append(instance)
    rows: dict[int, list[_Instance]] = {}
    taken = set()
    for row, uid in enumerate(values):
        found = by_uid.get(uid, [])
        if not found:
            log.add("label-without-file", uid or f"row {row + 1}")
        elif uid in taken:
            log.add("file-named-twice", uid)
        elif len({each.uid for each in found}) < len(found):
            log.add("ambiguous-file", uid, "stored more than once")
        else:
            rows[row] = found
            taken.add(uid)
    return rows


def _multi_frame(found: list[_Instance], folder: Path, log: ProblemLog) -> bool:
    several = [instance for instance in found if instance.frames > 1]
    for instance in several:
        log.add("multi-frame", name_in(instance.path, folder), f"{instance.frames} frames")
    return bool(several)
