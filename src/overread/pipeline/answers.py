"""The predictions.csv of a run made into cases and predictions again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from overread.data.manifest import Case, Task
from overread.data.sources.runs import run_length_mask
from overread.errors import InputError
from overread.finding import Finding, Mask, Prediction, Region

PREDICTIONS = "predictions.csv"
AGAIN = "Train or evaluate again into a new folder, and compare that."

Row = Mapping[str, str]
Found = TypeVar("Found")

_PRESENT: Mapping[str, bool | None] = {"1": True, "0": False, "": None}


class Answers:
    """Who was asked, what is true and what was said; refused cases are left out.

    Args:
        run: how to call the run.
        path: its table; see `export.tables.write_predictions_csv`, which wrote it.
        task: what the answers are about.
        classes: all that the model knows.

    Raises:
        InputError: where the table lacks a column or is not what was written.
    """

    def __init__(self, run: str, path: Path, task: Task, classes: Sequence[str]) -> None:
        self._run = run
        self._task = task
        self._classes = classes
        self._rows: dict[str, list[Row]] = {}
        for row in self._table(path):
            if not row["refused"]:
                self._rows.setdefault(row["case_id"], []).append(row)

    @property
    def cases(self) -> list[Case]:
        """The cases with their truth, without images."""
        truth = self._true_marks if self._task in ("boxes", "masks") else self._true_labels
        return [truth(key, rows) for key, rows in self._rows.items()]

    @property
    def predictions(self) -> list[Prediction]:
        """What was said about each case."""
        said = self._said_marks if self._task in ("boxes", "masks") else self._said_scores
        return [said(key, rows) for key, rows in self._rows.items()]

    @property
    def groups(self) -> dict[str, str]:
        """Case id -> the patient as whom it counts."""
        return {key: rows[0]["group"] for key, rows in self._rows.items()}

    @property
    def thresholds(self) -> dict[str, float]:
        """Case id -> the score from which a mark counted; only of marks."""
        return {key: self._read(float, rows[0], "threshold") for key, rows in self._rows.items()}

    @cached_property
    def _columns(self) -> list[str]:
        columns = ["case_id", "patient_id", "group", "refused"]
        if self._task in ("boxes", "masks"):
            columns += ["threshold", "kind", "label", "score", "left", "top", "right", "bottom"]
            return columns + (["mask"] if self._task == "masks" else [])
        columns += ["truth"] if self._task == "single-label" else [f"truth_{name}" for name in self._classes]
        return columns + [f"score_{name}" for name in self._classes]

    def _table(self, path: Path) -> list[Row]:
        import pandas as pd

        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        except ValueError as error:  # pandas' own errors are such
            raise self._wrong("cannot be read as a table") from error
        if missing := [name for name in self._columns if name not in table.columns]:
            raise self._wrong(f"has no column '{missing[0]}', which older versions did not write")
        rows = zip(*(table[name].tolist() for name in self._columns), strict=True)
        return [dict(zip(self._columns, row, strict=True)) for row in rows]

    def _true_labels(self, key: str, rows: Sequence[Row]) -> Case:
        if len(rows) > 1:
            raise self._wrong(f"has the case '{key}' twice")
        labels: dict[str, bool | None]
        if self._task == "single-label":
            if rows[0]["truth"] not in self._classes:
                raise self._wrong(f"gives the case '{key}' none of the classes")
            labels = {name: name == rows[0]["truth"] for name in self._classes}
        else:
            labels = {name: self._read(_PRESENT.__getitem__, rows[0], f"truth_{name}") for name in self._classes}
        return Case(key, rows[0]["patient_id"], (), labels=labels)

    def _said_scores(self, key: str, rows: Sequence[Row]) -> Prediction:
        return Prediction(key, scores={name: self._read(float, rows[0], f"score_{name}") for name in self._classes})

    def _true_marks(self, key: str, rows: Sequence[Row]) -> Case:
        marks = tuple(Finding(row["label"], self._region(row)) for row in rows if row["kind"] == "truth")
        return Case(key, rows[0]["patient_id"], (), marks=marks)

    def _said_marks(self, key: str, rows: Sequence[Row]) -> Prediction:
        said = [row for row in rows if row["kind"] == "predicted"]
        marks = (Finding(row["label"], self._region(row), self._read(float, row, "score")) for row in said)
        return Prediction(key, tuple(marks))

    def _region(self, row: Row) -> Region:
        left, top, right, bottom = (self._read(float, row, edge) for edge in ("left", "top", "right", "bottom"))
        return Region((left, top, right, bottom), self._read(_mask, row, "mask") if self._task == "masks" else None)

    def _read(self, convert: Callable[[str], Found], row: Row, column: str) -> Found:
        try:
            return convert(row[column])
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._wrong(f"holds '{row[column][:40]}' as {column} of the case '{row['case_id']}'") from error

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._run}: its {PREDICTIONS} {what}. {AGAIN}")


def _mask(text: str) -> Mask:
    written = json.loads(text)
    return run_length_mask(written["counts"], written["size"], None)
