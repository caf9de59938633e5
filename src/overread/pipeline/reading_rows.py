"""New rows of measurements read with a trained model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from overread.bundle import Bundle
from overread.data.inputs import measured
from overread.data.manifest import Case
from overread.data.problems import facts_in
from overread.data.sources.files import case_ids, is_table, walk
from overread.data.sources.measurements import NewRows, new_rows
from overread.errors import InputError
from overread.export.content import ReportContent
from overread.export.reading import Reading
from overread.export.report import write_report
from overread.export.tables import write_predictions_csv, write_predictions_json
from overread.export.wording import first_names
from overread.finding import Prediction
from overread.inference.predictor import FreshImages
from overread.pipeline import presenting
from overread.pipeline.assembly import knows_only, load_ensemble
from overread.pipeline.model_words import healthy_classes, measured_words
from overread.preprocessing.intensity import ZScore
from overread.progress import Progress
from overread.provenance import digest_of, environment
from overread.training.computing import Precision

FAR_DEVIATIONS = 10

log = logging.getLogger(__name__)


def read_rows(
    bundle: Bundle,
    weights: Path,
    paths: Sequence[Path],
    folder: Path,
    *,
    device: str,
    precision: Precision | None,
    progress: Progress,
) -> list[Prediction]:
    """Predict every row of some tables, and write predictions and the report; a row that cannot be used is refused.

    Raises:
        InputError: no table was named, or one lacks a measurement.
    """
    tables, left_out = _tables(paths)
    rows = {table: new_rows(table, bundle.measurements) for table in tables}
    names = [(table, name) for table, some in rows.items() for name in some.names]
    called = {(table, name): name if len(tables) == 1 else f"{table}: {name}" for table, name in names}
    ids = case_ids(called.values())
    cases = [
        replace(rows[table].cases[name], case_id=ids[called[table, name]])
        for table, name in names
        if name in rows[table].cases
    ]
    ensemble = load_ensemble(bundle, weights, device=device, precision=precision)
    answers = progress.track(ensemble.predict(cases, FreshImages()), what="reading", total=len(cases))
    answered = {prediction.case_id: prediction for prediction in answers}
    seen = set(bundle.seen)
    known = {case.case_id for case in cases if digest_of([facts_in(measured(case)).pixel_digest]) in seen}
    alone = knows_only(bundle.recipe, bundle.task)
    readings = [
        Reading(
            answered.get(ids[called[key]])
            or Prediction(ids[called[key]], refused=rows[key[0]].refused[key[1]], bundle_id=bundle.bundle_id),
            None,
            None,
            called[key],
            exclusive=bundle.task == "single-label",
            learned_from=ids[called[key]] in known,
            model_simulated=bundle.simulated,
            model=bundle.name,
            classes=bundle.classes,
            unit="row",
            knows_only=alone,
        )
        for key in names
    ]
    write_predictions_json(folder / "predictions.json", readings)
    write_predictions_csv(folder / "predictions.csv", readings)
    content = ReportContent(
        title=f"Read with {bundle.name}",
        kind="reading",
        created=presenting.now(),
        unit="row",
        model_simulated=bundle.simulated,
        measured=measured_words(bundle, knows_only=alone),
        healthy=healthy_classes(bundle, knows_only=alone),
        readings=readings,
        environment=environment(),
        warnings=[*_warnings(readings, list(rows.values()), left_out), *_far_words(bundle, cases)],
        notes=[bundle.intended_use],
        knows_only=alone,
    )
    write_report(folder / "report.html", content)
    for line in content.warnings:
        log.warning("%s", line)
    return [reading.prediction for reading in readings]


def _far_words(bundle: Bundle, cases: Sequence[Case]) -> list[str]:
    """Which measurements lie so far from those of the training that their unit is probably another one."""
    first = next(iter(bundle.folds[0].steps), None)
    if not isinstance(first, ZScore) or first.mean is None or first.std is None:
        return []  # what was learned from is not known
    values = np.array([case.measurements for case in cases]).reshape(-1, len(bundle.measurements))
    far = np.abs(values - first.mean) > FAR_DEVIATIONS * np.array(first.std)
    return [
        f"'{bundle.measurements[place]}' lies more than {FAR_DEVIATIONS} standard deviations from the rows that the "
        f"model learned from in {far[:, place].sum()} of these {len(cases)} rows. Check its unit: "
        f"{first_names([cases[row].case_id for row in np.flatnonzero(far[:, place]).tolist()])}"
        for place in np.flatnonzero(far.any(axis=0)).tolist()
    ]


def _tables(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The tables that were named, or that lie in the folders that were named, and the files there that are none."""
    tables: dict[Path, Path] = {}
    left_out = []
    for path in paths:
        for file in walk(path) if path.is_dir() else [path]:
            if is_table(file):
                tables.setdefault(file.absolute(), file)
            elif file is path:
                raise InputError(
                    f"'{file}': this model reads rows of measurements; give a CSV or Parquet table of them."
                )
            else:
                left_out.append(file)
    if not tables:
        raise InputError(f"There is no table in {', '.join(map(str, paths))}. Name CSV or Parquet tables of rows.")
    return list(tables.values()), left_out


def _warnings(readings: Sequence[Reading], tables: Sequence[NewRows], left_out: Sequence[Path]) -> list[str]:
    learned_from = [reading.name for reading in readings if reading.learned_from]
    unused = list(dict.fromkeys(name for some in tables for name in some.unused))
    lines = [line for some in tables for line in some.warnings]
    if learned_from:
        lines.append(
            f"The model learned from {len(learned_from)} of these {len(readings)} rows, so that its answers to them "
            f"look better than it is: {first_names(learned_from)}"
        )
    if unused:
        lines.append(f"Not looked at, because the model does not know these columns: {', '.join(unused)}")
    if left_out:
        named = first_names([file.name for file in left_out])
        lines.append(f"{len(left_out)} files in these folders are no tables and were not read: {named}")
    return lines
