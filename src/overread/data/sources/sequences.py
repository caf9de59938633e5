"""Which rows of a table belong to one examination, and in which order their images come."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pandas as pd

from overread.data.manifest import Case
from overread.data.problem_kinds import ProblemLog
from overread.data.sources.columns import NUMBER, canonical, column_called, is_binary
from overread.data.sources.files import case_ids

_NUMBERED = ("", "id", "no", "nr", "number", "index")
_CASE = tuple(name + end for name in ("case", "study", "examination", "exam", "sequence") for end in _NUMBERED)
# the first part the others: images of several visits may each have slices
_ORDER = tuple(
    name + end for name in ("order", "date", "studydate", "visitdate", "visit", "slice", "frame") for end in _NUMBERED
)


@dataclass(frozen=True)
class Tie:
    """How rows are tied into cases.

    Args:
        column: rows that say the same in it are one case; None ties nothing.
        order: the columns that put the rows of a case in order, first things first.
        groups: what to call each case (None: as its row is called), and the places of its rows, in order.
    """

    column: str | None
    order: tuple[str, ...]
    groups: tuple[tuple[str | None, tuple[int, ...]], ...]

    @property
    def taken(self) -> Mapping[str, tuple[str, ...]]:
        """What its columns were taken for, to be shown; nothing of an ordinary table."""
        return {} if self.column is None else {"case": (self.column,), "order": self.order}

    @property
    def columns(self) -> tuple[str, ...]:
        """All of these columns."""
        return tuple(name for names in self.taken.values() for name in names)


def tie(
    table: pd.DataFrame, rows: Sequence[int], called: Callable[[str], str], log: ProblemLog, *, sure: bool = False
) -> Tie:
    """Tie rows into cases by a column that is called like a case, study, examination or sequence and repeats itself.

    Args:
        table: as from `tabular.read_table`.
        rows: those whose images are there.
        called: what to call a case, from its value in the table.
        log: is told of cases without images, and where the order is not known.
        sure: that such a column ties, though it says 0 and 1 alone, which may be a label, or never repeats itself.
    """
    column = column_called(table, _CASE)
    label = column is not None and (is_binary(table[column]) or table.loc[table[column] != "", column].is_unique)
    if column is None or (label and not sure):
        return Tie(None, (), tuple((None, (place,)) for place in range(len(rows))))
    kept = table.iloc[list(rows)]
    members: dict[str | int, list[int]] = {}
    for place, value in enumerate(kept[column]):
        members.setdefault(value or place, []).append(place)  # a row that names no case is one by itself
    for value in dict.fromkeys(table[column]):
        if value and value not in members:
            log.add("case-without-images", called(value))
    order = tuple(name for wanted in _ORDER for name in table.columns if canonical(name) == wanted and name != column)
    keys = _keys(kept, order, log)
    if not keys:
        log.add("order-not-known", column)
    groups = []
    for value, places in members.items():
        name = called(value) if isinstance(value, str) else None
        at = {place: (*(key[place] for key in keys), position) for position, place in enumerate(places)}
        if keys and len({where[:-1] for where in at.values()}) < len(places):
            log.add("order-not-known", name or "", "two of its images at one place")
        groups.append((name, tuple(sorted(places, key=at.__getitem__))))
    return Tie(column, order, tuple(groups))


def joined(cases: Sequence[Case], tied: Tie, log: ProblemLog) -> list[Case]:
    """The cases of single rows, those of one examination as one case with its images in order.

    Args:
        cases: one a row.
        tied: which of them belong together.
        log: is told of examinations whose rows contradict each other.
    """
    ids = case_ids(name for name, _ in tied.groups if name is not None)
    return [
        _one(ids[name], [cases[place] for place in places], log) if name is not None else cases[places[0]]
        for name, places in tied.groups
    ]


def _one(case_id: str, rows: Sequence[Case], log: ProblemLog) -> Case:
    """One case of several rows; where they contradict each other, which is an error, it says what the first says."""
    patients = [None if row.patient_id == row.case_id else row.patient_id for row in rows]
    said: dict[str, Sequence[Hashable]] = {
        "label": [tuple(row.labels.items()) for row in rows],
        "patient": patients,
        "split": [row.split for row in rows],
        "site": [row.site for row in rows],
    }
    for what, values in said.items():
        if len(set(values)) > 1:
            log.add("case-contradicts-itself", case_id, what)
    common = set.intersection(*(set(row.attributes.items()) for row in rows))
    return replace(
        rows[0],
        case_id=case_id,
        patient_id=patients[0] or case_id,
        images=tuple(ref for row in rows for ref in row.images),
        attributes={name: value if (name, value) in common else None for name, value in rows[0].attributes.items()},
    )


def _keys(table: pd.DataFrame, names: Sequence[str], log: ProblemLog) -> list[list[float]]:
    """Of each column that says it in numbers or in dates: where each row comes. The others are named."""
    keys = []
    for name in names:
        try:
            if table[name].str.fullmatch(NUMBER).all():
                keys.append([float(value.replace(",", ".")) for value in table[name]])
            else:
                keys.append([datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() for value in table[name]])
        except ValueError:
            log.add("order-not-known", name, "neither numbers nor dates such as 2024-01-31")
    return keys
