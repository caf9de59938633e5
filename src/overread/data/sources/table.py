"""A table that says in every row what an image shows, or of what kind a row of measurements is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from overread.data.manifest import Manifest
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.files import is_dicom, is_image, note_unknown, walk
from overread.data.sources.measurements import measured_data
from overread.data.sources.rows import Files, image_column, images_of_rows, manifest_of_rows, names_images, table_of
from overread.data.sources.source import Source, sources
from overread.data.sources.tabular import read_table
from overread.errors import SourceError


@sources.add("table")
class Table(Source):
    """A CSV or Parquet table, of images or of measurements; see `columns.truth` for what is a label."""

    layout = (
        "a CSV or Parquet table (or a folder with one) with label columns, and a column of image files or columns of "
        "measurements"
    )

    def recognises(self, path: Path) -> bool:
        file = table_of(path)
        if file is None:
            return False
        table, files = read_table(file), Files(file.parent, anywhere=True)
        column = _image_column(table, files, path)
        if column is None:
            return bool(measured_data(path).measurements)
        images = [image for value in table[column] for image in files.named(value)]
        return not images or sum(map(is_dicom, images)) * 2 <= len(images)  # else it is the layout "dicom"

    def read(self, path: Path) -> Manifest:
        file = table_of(path)
        if file is None:
            raise SourceError(f"{path}: {self.layout} is expected; there is no table.")
        table, files = read_table(file), Files(file.parent, anywhere=True)
        column = _image_column(table, files, path)
        if column is None:
            return measured_data(path)
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


def _image_column(table: pd.DataFrame, files: Files, path: Path) -> str | None:
    """The column that names images; None for a table of measurements.

    Raises:
        SourceError: images there, or a column called after them, and none that is named.
    """
    column = image_column(table, files)
    if column is None and (names_images(table) or (path.is_dir() and any(map(is_image, walk(path))))):
        raise SourceError(
            f"{path}: a column is expected whose values are image files beside the table or in a folder there; found "
            f"columns {', '.join(table.columns[:8])}. Call it 'file' and give paths relative to the table; a table of "
            "measurements has no such column, and no images beside it."
        )
    return column
