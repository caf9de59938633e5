"""What a finished run wrote, read again: its answers, the truth, and the numbers that it gave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from overread.data.manifest import Manifest, Task
from overread.errors import InputError
from overread.evaluation.comparison import Key
from overread.evaluation.estimate import Estimate
from overread.evaluation.marks import Threshold
from overread.inference.assessment import DEFAULT_THRESHOLD, Assessment
from overread.pipeline.answers import AGAIN, PREDICTIONS, Answers

EVALUATION = "evaluation.json"
_ROUNDING = 1e-9


class _Data(BaseModel):
    name: str
    task: Task
    unit: Literal["image", "row"] = "image"
    classes: tuple[str, ...]
    fingerprint: str
    simulated: bool
    names_patients: bool = True
    n_patients: int
    n_groups: int | None = None


class _Model(BaseModel):
    n_networks: int | None = None
    n_parameters: int | None = None
    weights_bytes: int | None = None
    training_seconds: float | None = None


class Evaluation(BaseModel):
    """What of `evaluation.json` a comparison needs; see `presenting.evaluation_json`, which writes it."""

    format: Literal["overread-evaluation"]
    version: Literal[1]
    data: _Data
    scheme: str
    bundle: str | None = None
    model: _Model = _Model()
    warnings: tuple[str, ...]
    estimates: Annotated[tuple[Estimate, ...], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A training or an evaluation that ended.

    Args:
        name: how to call it.
        evaluation: what its `evaluation.json` says.
        answers: its predictions against the truth, as its `predictions.csv` says.
    """

    name: str
    evaluation: Evaluation
    answers: Assessment

    @cached_property
    def case_ids(self) -> set[str]:
        """The cases that it answered."""
        return set(self.answers.predictions)

    @cached_property
    def estimates(self) -> dict[Key, Estimate]:
        """The numbers that it gave over all of its cases."""
        return {(one.metric, one.class_name): one for one in self.evaluation.estimates if one.subgroup is None}

    def on(self, case_ids: Iterable[str]) -> Assessment:
        """Its answers to some of its cases, in their order."""
        cases = {case.case_id: case for case in self.answers.manifest.cases}
        kept = tuple(cases[key] for key in case_ids)
        predictions = {case.case_id: self.answers.predictions[case.case_id] for case in kept}
        return replace(self.answers, manifest=self.answers.manifest.with_cases(kept), predictions=predictions)


def read_run(folder: Path, *, name: str) -> FinishedRun:
    """Read a run and check that its numbers are those of its answers.

    Args:
        folder: of a finished training or evaluation.
        name: how to call it.

    Raises:
        InputError: where a file is missing, is not what was written, or lacks what an old version did not write.
    """
    for file in (EVALUATION, PREDICTIONS):
        if not (folder / file).is_file():
            raise InputError(
                f"'{folder}' holds no {file}. Name the folder of a finished training or evaluation; a training that "
                "was interrupted is finished by starting it again."
            )
    evaluation = _evaluation(folder / EVALUATION, name)
    data = evaluation.data
    if data.task == "reconstruction":
        raise InputError(f"{name}: it answers with {data.task}; labels and marks are what runs are compared by.")
    answers = Answers(name, folder / PREDICTIONS, data.task, data.classes)
    manifest = Manifest(data.name, "run", data.task, data.classes, tuple(answers.cases))
    threshold: Threshold = answers.thresholds if manifest.marks_lesions else DEFAULT_THRESHOLD
    run = FinishedRun(name, evaluation, Assessment.of(manifest, answers.predictions, threshold, answers.groups))
    _check_patients(run)
    _check_numbers(run)
    return run


def _evaluation(file: Path, name: str) -> Evaluation:
    try:
        return Evaluation.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(
            f"{name}: its {file.name} is not what was written ({where}: {first['msg']}). {AGAIN}"
        ) from error


def _check_patients(run: FinishedRun) -> None:
    """Intervals are drawn over patients, and no number tells when these are not those of the run."""
    data = run.evaluation.data
    for what, told, found in (
        ("patients", data.n_patients, run.answers.n_patients),
        ("groups", data.n_groups, run.answers.n_groups),
    ):
        if told != found:
            raise InputError(
                f"{run.name}: its {EVALUATION} speaks of {told} {what} and its {PREDICTIONS} of {found}. One of the "
                f"two was changed, or an older version of Overread wrote them. {AGAIN}"
            )


def _check_numbers(run: FinishedRun) -> None:
    """Measure again what the run measured: only then are answers and numbers those of one run."""
    for one in run.answers.measured(draws=0, seed=0):
        told = run.estimates.get((one.metric, one.class_name))
        if told is None or (told.value is None and np.isnan(one.value)):
            continue
        if told.value is None or not abs(told.value - one.value) < _ROUNDING:
            raise InputError(
                f"{run.name}: {one.metric} is {told.value} in its {EVALUATION} and {one.value} by its {PREDICTIONS}. "
                f"One of the two was changed, or another version of Overread measured otherwise. {AGAIN}"
            )
