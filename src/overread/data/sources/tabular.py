"""Tables as files, in the ways in which spreadsheets and programs write them."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import pandas as pd

from overread.errors import SourceError

_NOT_KNOWN = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "?", ".")  # R, pandas, databases, people


def read_table(path: Path) -> pd.DataFrame:
    """A CSV (comma, semicolon, tab or bar) or Parquet file as text; empty text where nothing is known.

    Raises:
        SourceError: not readable, no rows, two columns of one name, or a line with more or fewer values.
    """
    table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    names = [name for name in table.columns if name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{path}: every column needs a name of its own; found more than one '{twice[0]}'.")
    if table.empty or not names:
        raise SourceError(f"{path}: a table with a line of column names and at least one row is expected.")
    return table[names].replace(list(_NOT_KNOWN), "")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # what pyarrow raises depends on the damage
        raise SourceError(f"{path}: it cannot be read as Parquet ({error}).") from error
    texts = [[_text(value) for value in row] for row in table.itertuples(index=False)]
    return pd.DataFrame(texts, columns=[str(name).strip() for name in table.columns], dtype=str)


def _text(value: object) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # integers beside a gap are stored as floats
    return str(value).strip()


def _read_csv(path: Path) -> pd.DataFrame:
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what spreadsheets write without being asked
    if "\0" in text:
        raise SourceError(f"{path}: this is no text table.")
    text = text.lstrip("\n\r")
    note = re.match(r"sep=.[^\S\n]*\r?\n", text, re.IGNORECASE)  # Excel's own, on its delimiter
    text = text[note.end() :].lstrip("\n\r") if note else text
    first, second = [*text.splitlines()[:2], "", ""][:2]
    delimiter = max(",;\t|", key=lambda mark: (_width(first, mark), _width(second, mark)))
    try:
        lines = [
            (number, [value.strip() for value in row])
            for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1)
            if any(value.strip() for value in row)
        ]
    except csv.Error as error:
        raise SourceError(f"{path}: it cannot be read as a table ({error}).") from error
    if not lines:
        raise SourceError(f"{path}: the table is empty.")
    names = lines[0][1]
    if len(lines) > 1 and sum(map(bool, names)) == 1 < max(sum(map(bool, row)) for _, row in lines[1:]):
        raise SourceError(
            f"{path}: the first line is expected to name the columns; found one name and rows of several values "
            "below it. Take away what stands above the column names."
        )
    for number, row in lines[1:]:
        if len(row) != len(names):
            raise SourceError(
                f"{path}: line {number} has {len(row)} values, the first line names {len(names)} columns. Put values "
                f"that contain '{delimiter}' in quotes, or complete the line."
            )
    return pd.DataFrame([row for _, row in lines[1:]], columns=names, dtype=str)


def _width(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter), []))
