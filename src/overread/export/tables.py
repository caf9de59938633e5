"""Predictions as JSON and CSV, from which the numbers of an evaluation can be computed again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overread.data.manifest import Case
from overread.errors import InputError
from overread.export.overlap import best_iou, region_of
from overread.export.reading import Reading, exporters
from overread.finding import Finding
from overread.study import pseudonym
from overread.writing import write_whole

FORMAT_VERSION = 1

Row = Mapping[str, str | float | int | None]


def write_json(path: Path, value: Any) -> Path:
    """Write any JSON value, indented, as UTF-8; NaN and infinity are refused, for JSON has none.

    Raises:
        ValueError: for NaN or infinity.
        OSError: where the file cannot be written.
    """
    return write_whole(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_predictions_json(path: Path, readings: Sequence[Reading]) -> Path:
    """Write all predictions: scores, boxes in pixels of the original grid, masks as COCO RLE.

    Raises:
        InputError: where the readings come from more than one bundle, or a score is not a number.
    """
    value = {
        "format": FORMAT_VERSION,
        "bundle": _only_bundle(readings),
        "simulated": any(reading.simulated for reading in readings),
        "model_simulated": any(reading.model_simulated for reading in readings),
        "predictions": [_as_json(reading) for reading in readings],
    }
    return write_json(path, value)


def write_predictions_csv(path: Path, readings: Sequence[Reading]) -> Path:
    """Write a table that a statistician can work from; numbers stand in full precision, empty means not known.

    A model that gives images a class gets one row a case: `case_id, patient_id, split, fold`, the truth (`truth`
    with the class, or one column `truth_<class>` with 1 or 0 where classes do not exclude each other), one column
    `score_<class>` a class, and `refused` with the reason. The patient is named by a pseudonym.

    A model that restores gets one row a case with how near it came, such as `ssim_at_noise_0.1`.

    A model that marks gets one row a mark: `kind` is "predicted", or "truth" for a true mark, or "no marks" for an
    image that has neither, or "refused". Boxes are edges in pixels of the original grid. `truth_iou` is the highest
    overlap of a predicted mark with a true mark of its label (of the masks where both have one, else of the
    boxes); it is empty where the truth is not known. `mask` is COCO's RLE as JSON, so that numbers that rest on masks
    can be computed again from the table.

    Raises:
        InputError: where two readings give scores to different classes, or a score is not a number.
    """
    marked = any(reading.marks or reading.true_marks is not None for reading in readings)
    labelled = any(reading.prediction.scores for reading in readings)  # a model that marks may give these too
    if any(reading.restores for reading in readings):
        columns, rows = _quality_table(readings)
    else:
        columns, rows = _label_table(readings) if labelled and not marked else _mark_table(readings)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_whole(path, text.getvalue())


@exporters.add("json")
def export_json(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Write `predictions.json`, which holds everything, for a program."""
    return [write_predictions_json(folder / "predictions.json", readings)]


@exporters.add("csv")
def export_csv(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Write `predictions.csv`, for a table program or a statistician."""
    return [write_predictions_csv(folder / "predictions.csv", readings)]


def _only_bundle(readings: Sequence[Reading]) -> str | None:
    bundles = sorted({reading.prediction.bundle_id or "" for reading in readings})
    if len(bundles) > 1:
        raise InputError(
            f"predictions.json holds the predictions of one bundle; found {', '.join(b or 'none' for b in bundles)}. "
            "Write them into a folder each."
        )
    return bundles[0] or None if bundles else None


def _number(value: float, reading: Reading) -> float:
    number = float(value)
    if not np.isfinite(number):
        raise InputError(f"Case '{reading.prediction.case_id}': a score is {number}; expected a number.")
    return number


def _as_json(reading: Reading) -> dict[str, Any]:
    prediction = reading.prediction
    return {
        "case_id": prediction.case_id,
        "source": reading.name,
        "simulated": reading.simulated,
        "learned_from": reading.learned_from,
        "refused": prediction.refused,
        "scores": {name: _number(score, reading) for name, score in prediction.scores.items()},
        "predicted_class": reading.predicted_class,
        "quality": _quality(reading),
        "findings": [_finding_as_json(finding, reading) for finding in prediction.findings],
    }


def _finding_as_json(finding: Finding, reading: Reading) -> dict[str, Any]:
    region = finding.region
    return {
        "label": finding.label,
        "score": None if finding.score is None else _number(finding.score, reading),
        "interval": None if finding.interval is None else [_number(end, reading) for end in finding.interval],
        "box": None if region is None else [float(edge) for edge in region.box],
        "mask": None if region is None or region.mask is None else region.mask.to_coco(),
    }


def _who(reading: Reading) -> dict[str, str | int | None]:
    truth = reading.truth
    return {
        "case_id": reading.prediction.case_id,
        "patient_id": _patient(truth) if truth else None,
        "split": truth.split if truth else None,
        "fold": reading.fold,
    }


def _patient(truth: Case) -> str:
    """Enough to group by; what a data set calls its patients may be their names."""
    return truth.case_id if truth.patient_id == truth.case_id else pseudonym(truth.patient_id)


def _label_table(readings: Sequence[Reading]) -> tuple[list[str], list[Row]]:
    classes = next(list(reading.prediction.scores) for reading in readings if reading.prediction.scores)
    exclusive = all(reading.exclusive for reading in readings)
    truth_columns = ["truth"] if exclusive else [f"truth_{name}" for name in classes]
    columns = ["case_id", "patient_id", "split", "fold", *truth_columns, *(f"score_{n}" for n in classes), "refused"]
    rows: list[Row] = []
    for reading in readings:
        scores = reading.prediction.scores
        if scores and set(scores) != set(classes):
            raise InputError(
                f"Case '{reading.prediction.case_id}' has scores for {', '.join(scores)}; the others for "
                f"{', '.join(classes)}. Predictions of one table come from one model."
            )
        labels = reading.truth.labels if reading.truth else {}
        if exclusive:
            truth: dict[str, str | int | None] = {"truth": next((n for n, present in labels.items() if present), None)}
        else:
            known = {name: labels.get(name) for name in classes}
            truth = {f"truth_{name}": None if value is None else int(value) for name, value in known.items()}
        numbers = {f"score_{name}": _number(score, reading) for name, score in scores.items()}
        rows.append({**_who(reading), **truth, **numbers, "refused": reading.prediction.refused})
    return columns, rows


def _quality_table(readings: Sequence[Reading]) -> tuple[list[str], list[Row]]:
    names = next((list(reading.prediction.quality) for reading in readings if reading.prediction.quality), [])
    columns = ["case_id", "patient_id", "split", "fold", *names, "refused"]
    rows: list[Row] = [
        {**_who(reading), **_quality(reading), "refused": reading.prediction.refused} for reading in readings
    ]
    return columns, rows


def _quality(reading: Reading) -> dict[str, float]:
    return {name: _number(value, reading) for name, value in reading.prediction.quality.items()}


def _mark_table(readings: Sequence[Reading]) -> tuple[list[str], list[Row]]:
    columns = ["case_id", "patient_id", "split", "fold", "kind", "label", "score"]
    columns += ["left", "top", "right", "bottom", "area_px", "mask", "truth_iou", "refused"]
    rows: list[Row] = []
    for reading in readings:
        who, truth = _who(reading), reading.true_marks
        found: list[Row] = []
        for mark in reading.marks:
            score = None if mark.score is None else _number(mark.score, reading)
            found.append(
                {**who, "kind": "predicted", **_place(mark), "score": score, "truth_iou": best_iou(mark, truth)}
            )
        found += [{**who, "kind": "truth", **_place(mark)} for mark in truth or ()]
        if reading.prediction.refused is not None:
            found.append({**who, "kind": "refused", "refused": reading.prediction.refused})
        rows += found or [{**who, "kind": "no marks"}]
    return columns, rows


def _place(mark: Finding) -> dict[str, str | float | None]:
    region = region_of(mark)
    left, top, right, bottom = (float(edge) for edge in region.box)
    area = float(region.mask.area_px) if region.mask else (right - left) * (bottom - top)
    mask = json.dumps(region.mask.to_coco()) if region.mask else None
    box = {"left": left, "top": top, "right": right, "bottom": bottom}
    return {"label": mark.label, **box, "area_px": area, "mask": mask}
