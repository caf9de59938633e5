"""A comparison as JSON, as CSV and as lines for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from overread.export.comparison import ComparedRun, Comparison, Rival
from overread.export.comparison_words import (
    basis_words,
    cost_rows,
    difference_words,
    first_words,
    lead_words,
    p_words,
    row_words,
    shown_rows,
    value_words,
)
from overread.export.tables import write_json
from overread.writing import write_whole

_COSTS = ("training_seconds", "n_networks", "n_parameters", "weights_bytes")


def write_comparison_json(path: Path, comparison: Comparison) -> Path:
    """Write all numbers of a comparison."""
    return write_json(path, _as_json(comparison))


def write_comparison_csv(path: Path, comparison: Comparison) -> Path:
    """Write one row a number and run that is held against the reference; empty means not defined or not known."""
    rows = [row for rival in comparison.rivals for row in _csv_rows(comparison.reference, rival)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_whole(path, text.getvalue())


def comparison_lines(comparison: Comparison) -> list[str]:
    """The comparison for a terminal: what is better, then a table over all classes, then what the models cost."""
    lines = []
    for rival in comparison.rivals:
        lines += [lead_words(comparison, rival), *(f"  {line}" for line in first_words(comparison, rival)), ""]
        lines += [*_table(comparison, rival), ""]
    return [*lines, basis_words(comparison)]


def _table(comparison: Comparison, rival: Rival) -> list[str]:
    reference, run = comparison.reference, rival.run
    rows: list[tuple[str, ...]] = [("", reference.name, run.name, "difference", f"{run.name} is")]
    for row in shown_rows(comparison, rival):
        name = ("" if row.class_name is None else f"{row.class_name}: ") + row_words(row, run)
        verdict = ", ".join(filter(None, (row.verdict, p_words(row))))
        numbers = [value_words(one.estimates[row.key]) for one in (reference, run)]
        rows.append((name, *numbers, "not defined" if row.value is None else difference_words(row), verdict))
    rows += [(*costs, "") for costs in cost_rows(reference, run)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "format": "overread-comparison",
        "version": 1,
        "created": comparison.created,
        "data": {
            "name": comparison.data,
            "unit": comparison.unit,
            "task": comparison.task,
            "classes": list(comparison.classes),
            "fingerprint_of_truth": comparison.fingerprint,
            "simulated": comparison.simulated,
            "names_patients": comparison.names_patients,
            "n_cases": comparison.n_cases,
            "n_patients": comparison.n_patients,
            "n_groups": comparison.n_groups,
            "n_left_out": comparison.left_out,
        },
        "level": comparison.level,
        "draws": comparison.draws,
        "seed": comparison.seed,
        "n_tests": comparison.n_tests,
        "warnings": list(comparison.warnings),
        "runs": [_run_as_json(run) for run in (comparison.reference, *(rival.run for rival in comparison.rivals))],
        "differences": [
            {"reference": comparison.reference.name, "run": rival.run.name, **row.as_json()}
            for rival in comparison.rivals
            for row in rival.differences
        ],
    }


def _run_as_json(run: ComparedRun) -> dict[str, Any]:
    return asdict(run) | {"estimates": [estimate.as_json() for estimate in run.estimates.values()]}


def _csv_rows(reference: ComparedRun, rival: Rival) -> Iterator[dict[str, str | float | None]]:
    for row in rival.differences:
        one, two, test = reference.estimates[row.key], rival.run.estimates[row.key], row.test
        yield {
            "reference": reference.name,
            "run": rival.run.name,
            "metric": row.metric,
            "class": row.class_name,
            "reference_value": one.value,
            "reference_low": one.low,
            "reference_high": one.high,
            "run_value": two.value,
            "run_low": two.low,
            "run_high": two.high,
            "difference": row.value,
            "difference_low": row.low,
            "difference_high": row.high,
            "level": row.level,
            "verdict": row.verdict,
            "delong_low": test.low if test else None,
            "delong_high": test.high if test else None,
            "p": test.p_value if test else None,
            "p_holm": row.p_holm,
            "n_cases": row.n_cases,
            "n_patients": row.n_patients,
            "n_positive": row.n_positive,
            "method": "; ".join([row.method, *([test.method] if test else [])]),
        }
    for name in _COSTS:
        one, two = getattr(reference, name), getattr(rival.run, name)
        yield {"reference": reference.name, "run": rival.run.name, "metric": name,
               "reference_value": one, "run_value": two,
               "difference": None if one is None or two is None else two - one}  # fmt: skip
