"""What the columns of a table say: which names the image, which the patient, which are labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from overread.data.manifest import Split, Task
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.files import split_of
from overread.errors import SourceError

_PATIENT = (
    *("patientid", "patient", "subjectid", "subject", "participantid", "participant", "patid", "mrn"),
    *("patientno", "patientnr", "patientnumber", "patno", "patnr", "subjectno", "subjectnumber", "patientname"),
    *("patientenid", "patientennr", "patientennummer", "patientenname", "pat"),
)
_SITE = ("site", "hospital", "scanner", "institution", "centre", "center")
ATTRIBUTES = ("age", "sex", "gender")
ATTRIBUTE_PREFIX = "attribute"
LABEL = ("label", "class", "target", "diagnosis", "category")
_TRUE = ("1", "1.0", "yes", "true")
_FALSE = ("0", "0.0", "no", "false")
_BETWEEN_LABELS = "|;/,+&"
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")
NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_MOST_NUMBERS = 20
_MOST_WORDS = 200
_FEWEST_PATIENTS, _MOST_IMAGES_A_PATIENT = 6, 10  # (on average) in a column that is suspected to name patients


@dataclass(frozen=True)
class Truth:
    """What the label columns say.

    Args:
        task: "single-label" or "multi-label".
        classes: the names of the classes.
        labels: one mapping a row, as in `Case.labels`.
        columns: the columns that it was read from.
    """

    task: Task
    classes: tuple[str, ...]
    labels: tuple[Mapping[str, bool | None], ...]
    columns: tuple[str, ...]


def canonical(name: str) -> str:
    """A column name without case, spaces and underscores.

    >>> canonical("Patient ID") == canonical("patient_id")
    True
    """
    return re.sub(r"[^\w]|_", "", name.lower())


def column_called(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The first column that has one of these canonical names."""
    return next((column for name in names for column in table.columns if canonical(column) == name), None)


def names_uids(column: pd.Series) -> bool:
    """Whether all values that are there are DICOM UIDs (PS3.5 9)."""
    values = _values(column)
    return bool(values) and all(_UID.fullmatch(value) for value in values)


def patients(table: pd.DataFrame) -> list[str | None] | None:
    """The patient of each row; None where no column names patients."""
    column = column_called(table, _PATIENT)
    return None if column is None else [value or None for value in table[column]]


def taken(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Which columns were taken for patients, splits and sites, to be shown: a wrong guess must be seen."""
    found = {"patient": column_called(table, _PATIENT), "split": column_called(table, ("split",))}
    found["site"] = column_called(table, _SITE)
    return {what: () if column is None else (column,) for what, column in found.items()}


def sites(table: pd.DataFrame) -> list[str | None]:
    """The site of each row."""
    column = column_called(table, _SITE)
    return [None] * len(table) if column is None else [value or None for value in table[column]]


def splits(table: pd.DataFrame, path: Path) -> list[Split | None]:
    """The official split of each row.

    Raises:
        SourceError: a word that is no split.
    """
    column = column_called(table, ("split",))
    if column is None:
        return [None] * len(table)
    unknown = sorted({value for value in table[column] if value and split_of(value) is None})
    if unknown:
        raise SourceError(f"{path}: column '{column}' is expected to say train, val or test; found {listed(unknown)}.")
    return [split_of(value) for value in table[column]]


def truth(table: pd.DataFrame, path: Path, log: ProblemLog, *, besides: Sequence[str]) -> Truth:
    """The labels of each row.

    One column of words or numbers is "single-label". One column of 0 and 1 (or no and yes) is too: its classes
    are "not NAME" and "NAME", or the values themselves if it is merely called "label" or the like. Several
    columns of 0 and 1 are "multi-label"; an empty value is not known.

    Args:
        table: as from `tabular.read_table`.
        path: for messages.
        log: is told which columns are no labels, and what is odd about those that are.
        besides: columns that name the image.

    Raises:
        SourceError: no label column, or columns that do not go together.
    """
    candidates = _candidates(table, log, besides)
    if not candidates:
        raise SourceError(
            f"{path}: a label column is expected: words, a few whole numbers, or 0 and 1. Found columns "
            f"{listed(list(table.columns))}.{_why_no_label(table)}"
        )
    words = [column for column in candidates if not is_binary(table[column])]
    if len(candidates) > 1 and words:
        column = _the_label_among(candidates, words)
        if column is None:
            raise SourceError(
                f"{path}: several label columns ({listed(candidates)}) must each say 0 or 1 (or no and yes), or "
                f"nothing where it is not known; column '{words[0]}' says {_quoted(_values(table[words[0]]))}. Keep "
                f"one label column, or name what is no label '{ATTRIBUTE_PREFIX}_...' (patients: 'patient_id')."
            )
        for other in candidates:
            if other != column:
                note_unused(table, other, log)
        candidates = [column]
    found = _single(table[candidates[0]]) if len(candidates) == 1 else _several(table[candidates])
    _check(found, log)
    return found


def attributes(table: pd.DataFrame, *, besides: Sequence[str]) -> list[dict[str, str | float | None]]:
    """What else the table says of each row: all columns that are no label and have no meaning of their own."""
    named = with_own_meaning(table) | set(besides)
    columns = [column for column in table.columns if column not in named]
    return [
        {column: _number_or_text(value) for column, value in zip(columns, row, strict=True)}
        for row in table[columns].itertuples(index=False)
    ]


def with_own_meaning(table: pd.DataFrame) -> set[str | None]:
    """The columns that say neither a label nor an attribute; a second one of patients may hold their names."""
    patients = {column for column in table.columns if canonical(column) in _PATIENT}
    return patients | {column_called(table, _SITE), column_called(table, ("split",))}


def _candidates(table: pd.DataFrame, log: ProblemLog, besides: Sequence[str]) -> list[str]:
    named = with_own_meaning(table) | set(besides)
    candidates = []
    for column in table.columns:
        name = canonical(column)
        if column in named or name in ATTRIBUTES or name.startswith(ATTRIBUTE_PREFIX) or names_uids(table[column]):
            continue
        if is_label(table[column]):
            candidates.append(column)
        else:
            note_unused(table, column, log)
    if len(candidates) > 1:  # one word for all cases parts nothing
        for column in [column for column in candidates if len(_values(table[column])) == 1]:
            if not is_binary(table[column]):
                candidates.remove(column)
                log.add("column-not-used-as-label", column)
    return candidates


def note_unused(table: pd.DataFrame, column: str, log: ProblemLog, kind: str = "column-not-used-as-label") -> None:
    """Name a column that is no label; where no other names patients, one that may."""
    different = len(_values(table[column]))
    fewest = max(_FEWEST_PATIENTS, len(table) / _MOST_IMAGES_A_PATIENT)
    some_share = fewest <= different < (table[column] != "").sum()
    may = some_share and column_called(table, _PATIENT) is None
    log.add("column-may-name-patients" if may else kind, column)


def is_label(column: pd.Series) -> bool:
    """Whether its values can be classes: 0 and 1, a few whole numbers, or words that come back."""
    values = _values(column)
    if not values:
        return False
    if is_binary(column):
        return True
    numbers = [_number_or_text(value) for value in values]
    if all(isinstance(number, float) for number in numbers):
        whole = all(isinstance(number, float) and number.is_integer() for number in numbers)
        return whole and len(values) <= max(2, min(_MOST_NUMBERS, len(column) // 2))
    return len(values) <= max(2, min(_MOST_WORDS, len(column) // 2))


def _why_no_label(table: pd.DataFrame) -> str:
    """Why a column that is called a label is none, for whoever called it so."""
    column = column_called(table, LABEL)
    values = [] if column is None else _values(table[column])
    if not values:
        return "" if column is None else f" Column '{column}' says nothing."
    return (
        f" Column '{column}' has {len(values)} different values in {len(table)} rows, more than half; a class needs "
        "several cases."
        if len(values) * 2 > len(table)
        else f" Column '{column}' does not say classes: it has {len(values)} different values."
    )


def is_binary(column: pd.Series) -> bool:
    """Whether it says 0 and 1, or no and yes, and nothing else."""
    values = {value.lower() for value in _values(column)}
    return bool(values) and values <= {*_TRUE, *_FALSE}


def _the_label_among(candidates: list[str], words: list[str]) -> str | None:
    """The one column that is called a label, where no other column of 0 and 1 competes with it."""
    called = [column for column in candidates if canonical(column) in LABEL]
    return called[0] if len(called) == 1 and {*words, *called} == set(candidates) else None


def _single(column: pd.Series) -> Truth:
    name = str(column.name)
    if is_binary(column) and canonical(name) not in LABEL:
        classes = (f"not {name}", name)
        known = [_yes(value) for value in column]
        labels = [dict.fromkeys(classes) if yes is None else {classes[0]: not yes, name: yes} for yes in known]
        return Truth("single-label", classes, tuple(labels), (name,))
    values = tuple(_values(column))
    words = [{each: each == value if value else None for each in values} for value in column]
    return Truth("single-label", values, tuple(words), (name,))


def _several(table: pd.DataFrame) -> Truth:
    classes = tuple(str(column) for column in table.columns)
    labels = tuple(
        {column: _yes(value) for column, value in zip(classes, row, strict=True)}
        for row in table.itertuples(index=False)
    )
    return Truth("multi-label", classes, labels, classes)


def _check(found: Truth, log: ProblemLog) -> None:
    by_lower: dict[str, list[str]] = {}
    for name in found.classes:
        by_lower.setdefault(" ".join(name.lower().split()), []).append(name)
    for names in by_lower.values():
        if len(names) > 1:
            log.add("similar-class-names", " / ".join(names))
    for name in found.classes if found.task == "single-label" else ():
        if any(_parts(name, mark) & by_lower.keys() for mark in _BETWEEN_LABELS):
            log.add("several-labels-in-one-cell", name)


def _parts(name: str, mark: str) -> set[str]:
    """What stands between the marks, where there is something on both sides of one."""
    parts = [" ".join(part.split()) for part in name.lower().split(mark)]
    return set(parts) if len(parts) > 1 and all(parts) else set()


def _yes(value: str) -> bool | None:
    return value.lower() in _TRUE if value else None


def _values(column: pd.Series) -> list[str]:
    """The different values of a column, numbers by size and then words."""

    def order(value: str) -> tuple[bool, float, str]:
        number = _number_or_text(value)
        return (False, number, value) if isinstance(number, float) else (True, 0.0, value.lower() + value)

    return sorted({value for value in column if value}, key=order)


def _number_or_text(value: str) -> str | float | None:
    if not value:
        return None
    if re.fullmatch(NUMBER, value):
        return float(value.replace(",", "."))
    return value


def _quoted(values: Sequence[str]) -> str:
    """A few values; many are only counted, because they may be names of people."""
    return listed(values) if len(values) <= 5 else f"{len(values)} different words"


def listed(values: Sequence[str]) -> str:
    """The first five, in quotes, and how many more there are."""
    shown = ", ".join(f"'{value}'" for value in values[:5])
    return shown if len(values) <= 5 else f"{shown} and {len(values) - 5} more"
