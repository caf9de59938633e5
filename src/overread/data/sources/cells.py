"""The cells of measurement columns as numbers, and what is wrong with those that are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from overread.data.sources.columns import NUMBER, listed

_INFINITE = r"[+-]?(?:inf|infinity|\u221e)"
_THOUSANDS = r"[+-]?[1-9]\d{0,2},\d{3}"
_LARGEST = float(np.finfo(np.float32).max)  # images and measurements are kept in float32
_FEW_ROWS = 5


@dataclass(frozen=True, eq=False)
class Cells:
    """What the cells of some columns say.

    Args:
        names: the columns.
        values: `(row, column)` float64, NaN where a cell cannot be used.
        empty: `(row, column)`, nothing stands there.
        text: `(row, column)`, it is no number.
        infinite: `(row, column)`, it is infinite, or too large to be computed with.
        with_comma: the columns in which a comma stands before the decimals.
        with_point: the columns in which a point does.
        perhaps_thousands: the columns whose commas may part thousands: every one has three digits behind it.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    empty: NDArray[np.bool_]
    text: NDArray[np.bool_]
    infinite: NDArray[np.bool_]
    with_comma: tuple[str, ...]
    with_point: tuple[str, ...]
    perhaps_thousands: tuple[str, ...]

    @classmethod
    def of(cls, table: pd.DataFrame, names: Sequence[str]) -> Cells:
        """Read these columns of a table as from `tabular.read_table`."""
        shape = (len(table), len(names))
        values = np.full(shape, np.nan)
        empty, text, infinite = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
        marks: dict[str, list[str]] = {",": [], ".": [], "thousands": []}
        for place, name in enumerate(names):
            column = table[name]
            number = column.str.fullmatch(NUMBER).to_numpy(dtype=np.bool_)
            said = column[number]
            values[number, place] = said.str.replace(",", ".", regex=False).astype(np.float64)
            empty[:, place] = column == ""
            endless = column.str.fullmatch(_INFINITE, flags=re.IGNORECASE).to_numpy(dtype=np.bool_)
            infinite[:, place] = endless | (np.abs(values[:, place]) > _LARGEST)
            text[:, place] = ~(number | endless | empty[:, place])
            with_comma = said[said.str.contains(",", regex=False)]
            if len(with_comma):
                marks[","].append(name)
                if with_comma.str.fullmatch(_THOUSANDS).all():
                    marks["thousands"].append(name)
            if said.str.contains(".", regex=False).any():
                marks["."].append(name)
        values[infinite] = np.nan
        return cls(
            tuple(names), values, empty, text, infinite, tuple(marks[","]), tuple(marks["."]), tuple(marks["thousands"])
        )

    @property
    def mixed(self) -> tuple[str, ...]:
        """The columns at fault where one table writes decimals with a comma and with a point: one of the two lies."""
        if not self.with_comma or not self.with_point:
            return ()
        both = tuple(name for name in self.with_comma if name in self.with_point)
        return both or min(self.with_comma, self.with_point, key=len)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """`(row,)`, whether every cell of it is a number."""
        return np.asarray(~np.isnan(self.values).any(axis=1))

    def fault(self, row: int) -> str:
        """Why a row cannot be used, in words that quote nothing of it."""
        kinds = ((self.empty, "nothing stands"), (self.text, "no number stands"), (self.infinite, "no finite number"))
        parts = [
            f"{what} in {listed([self.names[place] for place in np.flatnonzero(wrong[row])])}"
            for wrong, what in kinds
            if wrong[row].any()
        ]
        return ", ".join(parts)


def mostly_numbers(column: pd.Series) -> bool:
    """Whether at least half of the cells that say something are numbers."""
    there = column[column != ""]
    said = there.str.fullmatch(f"(?:{NUMBER})|(?i:{_INFINITE})")
    return len(there) > 0 and int(said.sum()) * 2 >= len(there)


def rows_words(wrong: NDArray[np.bool_]) -> str:
    """Which rows, counted from 1 below the line of names.

    >>> rows_words(np.array([False, True, True]))
    '2 rows: 2, 3'
    """
    rows = (np.flatnonzero(wrong) + 1).tolist()
    more = " ..." if len(rows) > _FEW_ROWS else ""
    return f"{len(rows)} row{'s' * (len(rows) > 1)}: {', '.join(map(str, rows[:_FEW_ROWS]))}{more}"
