"""New examinations whose images a table names: which belong together, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from overread.data.problem_kinds import ProblemLog
from overread.data.sources.rows import Files, image_column, images_of_rows
from overread.data.sources.sequences import tie
from overread.data.sources.tabular import read_table
from overread.errors import SourceError

_SHOWN = 3


@dataclass(frozen=True)
class NewExaminations:
    """What a table names to be read.

    Args:
        images: name of an examination -> its images, in order.
        refused: name of an examination that is not whole -> why, with what to do.
        warnings: what a person must know of the order that was taken.
        lone: images that the table ties to no examination.
    """

    images: Mapping[str, tuple[Path, ...]]
    refused: Mapping[str, str]
    warnings: tuple[str, ...]
    lone: tuple[Path, ...]


def new_examinations(file: Path) -> NewExaminations:
    """Read the examinations that a table names; its labels, if it has any, are not looked at.

    An examination of which an image is missing is refused: what it shows may be on that one.

    Args:
        file: CSV or Parquet with a column of image files and one called like a case, see `sequences.tie`.

    Raises:
        SourceError: no table, or not one column that names images.
    """
    table, files = read_table(file), Files(file.parent, anywhere=True)
    column = image_column(table, files)
    if column is None:
        raise SourceError(
            f"{file}: a column is expected whose values are image files beside the table or in a folder there; found "
            f"columns {', '.join(table.columns[:8])}. Call it 'file', with paths relative to the table, and name in a "
            "column 'case' which of them are one examination."
        )
    there, log = images_of_rows(table[column], files, ProblemLog()), ProblemLog()
    rows = list(there)
    tied = tie(table, rows, str, log, sure=True)
    names = table[column if tied.column is None else tied.column]
    lost: dict[str, list[str]] = {}
    for row in sorted(set(range(len(table))) - set(rows)):
        image = table[column].iloc[row] or f"row {row + 1}"
        lost.setdefault(names.iloc[row] or image, []).append(image)
    groups = [(name, tuple(there[rows[place]] for place in places)) for name, places in tied.groups]
    return NewExaminations(
        {name: images for name, images in groups if name is not None and name not in lost},
        {name: _lost_words(images) for name, images in lost.items()},
        tuple(f"{file.name}: {one.message}" for one in log.problems() if one.severity == "warning"),
        lone=tuple(image for name, images in groups if name is None for image in images),
    )


def _lost_words(images: list[str]) -> str:
    named = ", ".join(images[:_SHOWN]) + (f" and {len(images) - _SHOWN} more" if len(images) > _SHOWN else "")
    return (
        f"expected all images that the table names for it; found {len(images)} that are not there, fit several files "
        f"or are named in two rows: {named}. Add them, or correct the table."
    )
