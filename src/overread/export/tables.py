"""Predictions as JSON and CSV, from which the numbers of an evaluation can be computed again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overread.errors import InputError
from overread.export.overlap import best_iou, region_of
from overread.export.reading import Reading, exporters
from overread.finding import Finding
from overread.study import pseudonym
from overread.writing import write_whole

FORMAT_VERSION = 1

_WHO = ("case_id", "patient_id", "group", "split", "fold")

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

    A model that gives images a class gets one row a case: `case_id, patient_id, group, split, fold`, the truth (`truth`
    with the class, or one column `truth_<class>` with 1 or 0 where classes do not exclude each other), one column
    `score_<class>` a class, and `refused` with the reason. The patient is named by a pseudonym; where nobody's patient
    is named, each case stands for one. `group` is what intervals draw: the patient, or one patient for all who share
    a picture.

    A model that restores gets one row a case with how near it came, such as `ssim_at_noise_0.1`.

    A model that marks gets one row a mark: `kind` is "predicted", or "truth" for a true mark, or "no marks" for an
    image that has neither, or "refused"; and one row an image and class of kind "highest mark": the score of the
    highest mark of the class, also of one too low to be shown, and 0 where there is none. From the score `threshold`
    on a mark of this image counted. Boxes are edges in pixels of the original grid. `truth_iou` is the highest overlap
    of a predicted mark with a true mark of its label (of the masks where both have one, else of the boxes); it is empty
    where the truth is not known. `mask` is COCO's RLE as JSON, so that numbers that rest on masks can be computed again
    from the table.

    Raises:
        InputError: where two readings give scores to different classes, or a score is not a number.
    """
    if any(reading.restores for reading in readings):
        columns, rows = _quality_table(readings)
    elif any(not reading.can_mark for reading in readings):
        columns, rows = _label_table(readings)
    else:
        columns, rows = _mark_table(readings)
    patients = _patients(readings)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **patients.get(str(row["case_id"]), {})} for row in rows)
    return write_whole(path, text.getvalue())


def write_frame_scores_csv(path: Path, readings: Sequence[Reading]) -> list[Path]:
    """Write what each slice or frame by itself speaks for, one row each: `case_id, slice` from 1, `score_<class>`.

    A slice that was cut away before the model saw it has no score.

    Returns:
        The path, or nothing where no reading has scores of slices: then no file is written.

    Raises:
        InputError: where a score is not a number.
    """
    framed = [reading for reading in readings if reading.prediction.frame_scores]
    if not framed:
        return []
    classes = list(framed[0].prediction.frame_scores)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case_id", "slice", *(f"score_{name}" for name in classes)])
    for reading in framed:
        scores = zip(*(reading.prediction.frame_scores[name] for name in classes), strict=True)
        for number, row in enumerate(scores, start=1):
            writer.writerow([reading.prediction.case_id, number, *(_frame_score(score, reading) for score in row)])
    return [write_whole(path, text.getvalue())]


@exporters.add("json")
def export_json(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Write `predictions.json`, which holds everything, for a program."""
    return [write_predictions_json(folder / "predictions.json", readings)]


@exporters.add("csv")
def export_csv(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Write `predictions.csv` and, of sequences, `frame_scores.csv`, for a table program or a statistician."""
    return [
        write_predictions_csv(folder / "predictions.csv", readings),
        *write_frame_scores_csv(folder / "frame_scores.csv", readings),
    ]


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


def _frame_score(score: float | None, reading: Reading) -> float | None:
    """Of one slice; None where the model did not see it."""
    return None if score is None else _number(score, reading)


def _as_json(reading: Reading) -> dict[str, Any]:
    prediction = reading.prediction
    return {
        "case_id": prediction.case_id,
        "source": reading.name,
        "simulated": reading.simulated,
        "learned_from": reading.learned_from,
        "refused": prediction.refused,
        "doubt": prediction.doubt,
        "scores": {name: _number(score, reading) for name, score in prediction.scores.items()},
        "scores_are": _scores_are(reading),
        "frame_scores": {
            name: [_frame_score(score, reading) for score in scores] for name, scores in prediction.frame_scores.items()
        },
        "predicted_class": reading.predicted_class,
        "quality": _quality(reading),
        "findings": [_finding_as_json(finding, reading) for finding in prediction.findings],
    }


def _scores_are(reading: Reading) -> str | None:
    """None where there are none: a refused image says nothing of its model."""
    if not reading.prediction.scores:
        return None
    return "highest mark" if reading.can_mark else "of the image"


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
        "split": truth.split if truth else None,
        "fold": reading.fold,
    }


def _patients(readings: Sequence[Reading]) -> dict[str, dict[str, str]]:
    """Case id -> patient and group, enough to group by: what a data set calls its patients may be their names.

    One rule for all cases: a patient may be called like one of his own images.
    """
    cases = [(reading.truth, reading.group) for reading in readings if reading.truth]
    named = any(case.patient_id != case.case_id for case, _ in cases)
    return {
        case.case_id: {
            column: pseudonym(who) if named else who
            for column, who in (("patient_id", case.patient_id), ("group", group or case.patient_id))
        }
        for case, group in cases
    }


def _label_table(readings: Sequence[Reading]) -> tuple[list[str], list[Row]]:
    classes = next(list(reading.prediction.scores) for reading in readings if reading.prediction.scores)
    exclusive = all(reading.exclusive for reading in readings)
    truth_columns = ["truth"] if exclusive else [f"truth_{name}" for name in classes]
    columns = [
        *_WHO,
        *truth_columns,
        *(f"score_{n}" for n in classes),
        "refused",
    ]
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
    columns = [*_WHO, *names, "refused"]
    rows: list[Row] = [
        {**_who(reading), **_quality(reading), "refused": reading.prediction.refused} for reading in readings
    ]
    return columns, rows


def _quality(reading: Reading) -> dict[str, float]:
    return {name: _number(value, reading) for name, value in reading.prediction.quality.items()}


def _mark_table(readings: Sequence[Reading]) -> tuple[list[str], list[Row]]:
    columns = [*_WHO, "threshold", "kind", "label", "score"]
    columns += ["left", "top", "right", "bottom", "area_px", "mask", "truth_iou", "refused"]
    rows: list[Row] = []
    for reading in readings:
        who, truth = {**_who(reading), "threshold": reading.threshold}, reading.true_marks
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
        highest = reading.prediction.scores.items()
        rows += [{**who, "kind": "highest mark", "label": n, "score": _number(s, reading)} for n, s in highest]
    return columns, rows


def _place(mark: Finding) -> dict[str, str | float | None]:
    region = region_of(mark)
    left, top, right, bottom = (float(edge) for edge in region.box)
    area = float(region.mask.area_px) if region.mask else (right - left) * (bottom - top)
    mask = json.dumps(region.mask.to_coco()) if region.mask else None
    box = {"left": left, "top": top, "right": right, "bottom": bottom}
    return {"label": mark.label, **box, "area_px": area, "mask": mask}
