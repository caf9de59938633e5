"""Rows of measurements as cases, with their labels or new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from overread.data.manifest import Case, Manifest
from overread.data.problem_kinds import ProblemLog
from overread.data.sources import columns, measured_columns
from overread.data.sources.cells import Cells, rows_words
from overread.data.sources.columns import canonical, listed
from overread.data.sources.files import case_ids, note_unknown
from overread.data.sources.rows import table_of
from overread.data.sources.tabular import read_table
from overread.errors import SourceError

_FEW_ROWS = 5


@dataclass(frozen=True)
class NewRows:
    """Rows that a model is to be asked about.

    Args:
        names: of all rows, in the order of the table.
        cases: name -> case, of the rows that can be asked about.
        refused: name -> why, of the others.
        unused: the columns that the model does not know.
        warnings: what must be seen before any answer.
    """

    names: tuple[str, ...]
    cases: Mapping[str, Case]
    refused: Mapping[str, str]
    unused: tuple[str, ...]
    warnings: tuple[str, ...]


def new_rows(file: Path, measurements: Sequence[str]) -> NewRows:
    """The rows of a table whose truth is not known; columns are found by name, whatever their order.

    Raises:
        SourceError: no table, a measurement without a column, or decimals that are written in two ways.
    """
    table = read_table(file)
    measured_columns.check_there(table, measurements, file)
    cells = Cells.of(table, measurements)
    if cells.mixed:
        raise SourceError(
            f"{file}: decimals are expected to be written in one way; found a comma in {listed(cells.with_comma)} and "
            f"a point in {listed(cells.with_point)}, so that one of them may part thousands. Write all of them alike."
        )
    names = measured_columns.row_names(table)
    advice = f"this model needs all of its {len(measurements)} measurements as numbers"
    return NewRows(
        names,
        {
            names[row]: Case(names[row], names[row], (), measurements=tuple(cells.values[row].tolist()))
            for row in np.flatnonzero(cells.usable).tolist()
        },
        {names[row]: f"{cells.fault(row)}; {advice}." for row in np.flatnonzero(~cells.usable).tolist()},
        tuple(name for name in table.columns if name not in (*measurements, measured_columns.naming_column(table))),
        tuple(
            f"{file.name}: every comma in column '{name}' has three digits behind it and was read as a decimal comma. "
            "If it parts thousands, the answers are wrong: write these numbers without it."
            for name in cells.perhaps_thousands
        ),
    )


def measured_data(path: Path, *, measurements: Sequence[str] = ()) -> Manifest:
    """A table of measurements and their labels as a data set.

    Args:
        path: CSV or Parquet, or a folder with one.
        measurements: the columns that are measured, in the order of the model that is to be evaluated; by default all
            columns of numbers that are no label, id, patient, site or split and not called "attribute_...".

    Raises:
        SourceError: no table, no measurement, no label, or one of `measurements` that is not there.
    """
    file = table_of(path)
    if file is None:
        raise SourceError(f"{path}: a CSV or Parquet table of measurements is expected; there is none.")
    table, log = read_table(file), ProblemLog()
    if path.is_dir():
        note_unknown(path, [file], log)
    measured_columns.check_there(table, measurements, file)
    labels = measured_columns.label_columns(table, measurements, file)
    chosen, left_out = measured_columns.sorted_columns(table, labels, measurements, log)
    truth = columns.truth(table, file, log, besides=[*chosen, *left_out])
    cells = Cells.of(table, chosen)
    _note_cells(cells, log)
    usable = np.zeros(len(table), np.bool_) if cells.mixed else cells.usable
    values = cells.values
    if not measurements:
        kept = _telling(cells, usable, log)
        chosen, values = tuple(np.array(chosen, dtype=object)[kept]), values[:, kept]
        _note_alike(chosen, values[usable], log)
        _note_leaks(chosen, values, truth, usable, log)
    if not chosen:
        raise SourceError(
            f"{file}: a table of measurements has at least one column of numbers that differ, beside its label; found "
            f"columns {listed(list(table.columns))}. A column that was left out as an id is kept if it is called "
            "'measurement_...'; a table of images names their files, in a column called 'file'."
        )
    naming = measured_columns.naming_column(table)
    taken = {"measurement": chosen, "label": truth.columns, "id": (naming,) if naming else (), **columns.taken(table)}
    measured = {row: tuple(values[row].tolist()) for row in np.flatnonzero(usable).tolist()}
    cases = _cases(table, file, truth, measured, taken, log=log)
    return Manifest(
        file.stem,
        "table",
        truth.task,
        truth.classes,
        cases,
        log.problems(),
        columns=taken,
        measurements=chosen,
    )


def _cases(
    table: pd.DataFrame,
    file: Path,
    truth: columns.Truth,
    measured: Mapping[int, tuple[float, ...]],
    taken: Mapping[str, Sequence[str]],
    *,
    log: ProblemLog,
) -> tuple[Case, ...]:
    names = measured_columns.row_names(table)
    ids = case_ids(names)
    patients, splits, sites = columns.patients(table), columns.splits(table, file), columns.sites(table)
    used = [name for names in taken.values() for name in names if canonical(name) not in columns.ATTRIBUTES]
    said = columns.attributes(table, besides=used)
    cases = []
    for row, values in measured.items():
        case_id, patient = ids[names[row]], None if patients is None else patients[row]
        if patients is not None and patient is None:
            log.add("patient-not-known", case_id)
        if None in truth.labels[row].values():
            log.add("unknown-label", case_id)
        cases.append(
            Case(
                case_id,
                patient or case_id,
                (),
                labels=truth.labels[row],
                split=splits[row],
                site=sites[row],
                attributes=said[row],
                measurements=values,
            )
        )
    return tuple(sorted(cases, key=lambda case: case.case_id))


# ---- what is wrong with the numbers --------------------------------------------------------------------------


def _note_cells(cells: Cells, log: ProblemLog) -> None:
    kinds = {
        "measurement-missing": cells.empty,
        "measurement-not-a-number": cells.text,
        "measurement-infinite": cells.infinite,
    }
    for kind, wrong in kinds.items():
        for place in np.flatnonzero(wrong.any(axis=0)):
            log.add(kind, cells.names[place], rows_words(wrong[:, place]))
    for name in cells.mixed:
        log.add("decimals-written-in-two-ways", name)
    for name in cells.perhaps_thousands:
        log.add("comma-may-part-thousands", name)


def _telling(cells: Cells, usable: NDArray[np.bool_], log: ProblemLog) -> NDArray[np.bool_]:
    """`(measurement,)`, which are not the same in every row, as a model sees them."""
    seen = cells.values[usable].astype(np.float32)
    if len(seen) < 2:
        return np.ones(len(cells.names), np.bool_)
    telling = np.ptp(seen, axis=0) > 0
    for place, name in enumerate(cells.names):
        others = len(seen) - int(np.unique(seen[:, place], return_counts=True)[1].max())
        if not telling[place]:
            log.add("measurement-constant", name)
        elif others < _FEW_ROWS and others * 2 < len(seen):
            log.add("measurement-nearly-constant", name, f"all but {others} rows")
    return np.asarray(telling)


def _note_alike(names: Sequence[str], values: NDArray[np.float64], log: ProblemLog) -> None:
    alike: dict[bytes, list[str]] = {}
    for name, column in zip(names, values.astype(np.float32).T, strict=True):
        alike.setdefault(column.tobytes(), []).append(name)
    for some in alike.values():
        if len(some) > 1:
            log.add("equal-measurements", " = ".join(some))


def _note_leaks(
    names: Sequence[str], values: NDArray[np.float64], truth: columns.Truth, usable: NDArray[np.bool_], log: ProblemLog
) -> None:
    """Name measurements that say the label in other words: one value for each class, without exception."""
    asked = [truth.classes] if truth.task == "single-label" else [(name,) for name in truth.classes]
    for classes in asked:
        said = [tuple(labels.get(name) for name in classes) for labels in truth.labels]
        rows = [row for row in np.flatnonzero(usable) if None not in said[row]]
        different = len({said[row] for row in rows})
        for name, column in zip(names, values.T, strict=True):
            pairs = {(float(column[row]), said[row]) for row in rows}
            if different > 1 and len({value for value, _ in pairs}) == different == len(pairs):
                log.add("measurement-equals-label", name)
