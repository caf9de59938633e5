"""Which columns of a table of measurements are measured, which say the truth, and which names the row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from overread.data.problem_kinds import ProblemLog
from overread.data.sources import columns
from overread.data.sources.cells import Cells, mostly_numbers
from overread.data.sources.columns import canonical, listed
from overread.errors import SourceError

_MEASUREMENT_PREFIX = "measurement"
_ID = re.compile(r"(?:.*[\s_.-])?(?:id|uid|nr|no|number|index|key|row)\.?|unnamed: ?\d+", re.IGNORECASE)
_ID_IN_CAMEL_CASE = re.compile(r".*[a-z](?:ID|Id|UID|Nr|No)")


def check_there(table: pd.DataFrame, measurements: Sequence[str], file: Path) -> None:
    """Refuse a table that lacks a measurement.

    Raises:
        SourceError: it does.
    """
    missing = [name for name in measurements if name not in table.columns]
    if missing:
        near = get_close_matches(missing[0], list(table.columns), n=1)
        raise SourceError(
            f"{file}: this model needs the measurements {listed(measurements)}; found no column {listed(missing)}"
            f"{f' (but {listed(near)})' if near else ''}. Name columns as in the table that it learned from, and give "
            "the same units."
        )


def label_columns(table: pd.DataFrame, measurements: Sequence[str], file: Path) -> tuple[str, ...]:
    """The columns that may be labels: those called so; else those of 0 and 1, or those of words.

    Raises:
        SourceError: there is none, or columns of words and of 0 and 1 compete.
    """
    own = columns.with_own_meaning(table) | set(measurements)
    free = [name for name in table.columns if name not in own and not _is_attribute(name) and not _is_measured(name)]
    called = [name for name in free if canonical(name) in columns.LABEL]
    if called:
        return tuple(called)
    free = [name for name in free if not _named_like_id(name)]
    flags = [name for name in free if _says_zero_and_one(table[name])]
    words = [name for name in free if name not in flags and not mostly_numbers(table[name])]
    words = [name for name in words if columns.is_label(table[name])]
    if flags and words:
        raise SourceError(
            f"{file}: a column of words and columns of 0 and 1 could all be labels: {listed([*words, *flags])}. Call "
            "the one to learn 'label', and others 'measurement_...' or 'attribute_...'."
        )
    if not flags and not words:
        raise SourceError(
            f"{file}: a label column is expected beside the measurements: one called 'label', or one of words, or of 0 "
            f"and 1. Found columns {listed(list(table.columns))}."
        )
    return tuple(flags or words)


def sorted_columns(
    table: pd.DataFrame, labels: Sequence[str], known: Sequence[str], log: ProblemLog
) -> tuple[tuple[str, ...], list[str]]:
    """The columns that are measured, and the others that can be no label; what is left out is named."""
    own, naming = columns.with_own_meaning(table) | set(labels), naming_column(table)
    chosen, left_out = [], []
    for name in table.columns:
        if name in own or canonical(name).startswith(columns.ATTRIBUTE_PREFIX):
            continue
        numbers = mostly_numbers(table[name])
        an_id = not _is_measured(name) and (_named_like_id(name) or _is_running_number(table[name]))
        if name in known or (not known and numbers and not an_id and name != naming):
            chosen.append(name)
            continue
        if name != naming and an_id:
            columns.note_unused(table, name, log, "column-may-be-an-id")
        elif name != naming and (numbers or columns.is_binary(table[name])):
            columns.note_unused(table, name, log)
        elif name != naming:
            continue  # words, which `columns.truth` looks at
        left_out.append(name)
    return tuple(known) or tuple(chosen), left_out


def _is_measured(name: str) -> bool:
    return canonical(name).startswith(_MEASUREMENT_PREFIX)


def _is_attribute(name: str) -> bool:
    return canonical(name) in columns.ATTRIBUTES or canonical(name).startswith(columns.ATTRIBUTE_PREFIX)


def _named_like_id(name: str) -> bool:
    return _ID.fullmatch(name) is not None or _ID_IN_CAMEL_CASE.fullmatch(name) is not None


def _is_running_number(column: pd.Series) -> bool:
    """Whether all its values are whole numbers and no two are equal."""
    numbers = Cells.of(column.to_frame(), [str(column.name)]).values[:, 0]
    there = numbers[~np.isnan(numbers)]
    return len(there) > 1 and len(np.unique(there)) == len(there) and bool((there == np.rint(there)).all())


def _says_zero_and_one(column: pd.Series) -> bool:
    """Whether it says 0 and 1, or no and yes; a few other words among them do not hide it."""
    if columns.is_binary(column):
        return True
    if not mostly_numbers(column):
        return False
    numbers = Cells.of(column.to_frame(), [str(column.name)]).values
    return set(numbers[~np.isnan(numbers)].tolist()) <= {0.0, 1.0}


def naming_column(table: pd.DataFrame) -> str | None:
    """The column that names the rows: called like an id, and different in each."""
    own = columns.with_own_meaning(table)
    candidates = (name for name in table.columns if _named_like_id(name) and not _is_measured(name) and name not in own)
    return next((name for name in candidates if (table[name] != "").all() and table[name].is_unique), None)


def row_names(table: pd.DataFrame) -> tuple[str, ...]:
    """What to call each row: by its id, or by its number, counted from 1 below the line of names."""
    naming = naming_column(table)
    if naming is not None:
        return tuple(table[naming])
    width = len(str(len(table)))
    return tuple(f"row-{row:0{width}}" for row in range(1, len(table) + 1))
