"""A table that names an image and its labels in every row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from overread.data.manifest import Manifest
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.files import is_dicom, note_unknown
from overread.data.sources.rows import Files, image_column, images_of_rows, manifest_of_rows, table_of
from overread.data.sources.source import Source, sources
from overread.data.sources.tabular import read_table
from overread.errors import SourceError


@sources.add("table")
class Table(Source):
    """A CSV or Parquet table beside its images; see `columns.truth` for what is a label."""

    layout = "a CSV or Parquet table (or a folder with one) with a column of image files and label columns"

    def recognises(self, path: Path) -> bool:
        file = table_of(path)
        if file is None:
            return False
        table, files = read_table(file), Files(file.parent, anywhere=True)
        column = _image_column(table, files, file)
        images = [image for value in table[column] for image in files.named(value)]
        return not images or sum(map(is_dicom, images)) * 2 <= len(images)  # else it is the layout "dicom"

    def read(self, path: Path) -> Manifest:
        file = table_of(path)
        if file is None:
            raise SourceError(f"{path}: {self.layout} is expected; there is no table.")
        table, files = read_table(file), Files(file.parent, anywhere=True)
        column = _image_column(table, files, file)
        log = ProblemLog()
        images = images_of_rows(table[column], files, log)
        if not images:
            raise SourceError(
                f"{file}: none of the {len(table)} images in column '{column}' is there; the first is called "
                f"'{table[column].iloc[0]}'. Give paths relative to {file.parent}, or put them into a folder there."
            )
        if path.is_dir():
            note_unknown(path, [file, *images.values()], log)
        cases = {row: (image,) for row, image in images.items()}
        return manifest_of_rows(table, cases, file, log, source="table", naming=[column])


def _image_column(table: pd.DataFrame, files: Files, file: Path) -> str:
    column = image_column(table, files)
    if column is None:
        raise SourceError(
            f"{file}: a column is expected whose values are image files in {file.parent} or a folder in it; found "
            f"columns {', '.join(table.columns[:8])}. Call it 'file' and give paths relative to the table."
        )
    return column
