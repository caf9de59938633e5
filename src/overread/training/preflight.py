"""What a training will take, measured before it begins; one that does not fit into memory does not begin."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch

from overread.data.fold import Fold
from overread.data.inputs import input_of
from overread.data.manifest import Case
from overread.errors import TooLittleMemory
from overread.models.contract import Model
from overread.preprocessing.step import Step, learns
from overread.progress import Progress
from overread.terminal import about
from overread.training.computing import Computing, load_computing, save_computing
from overread.training.crossval import Plan, Start, cases_of, checkpoint_of, pretrained_of, start_of
from overread.training.loop import begin, epochs_done, learn
from overread.training.memory import Memory, memory_of
from overread.training.probe import BATCHES, choose, ways
from overread.training.section import TrainingSection

log = logging.getLogger(__name__)

COMPUTED = "computed.json"
"""The file in a run's folder that says how it computes."""

CHECKPOINTS = "folds"
"""The folder in a run's folder for what its folds are trained from; it is there while the run is not finished."""

MARGIN = 1.15
"""What was measured of memory, times this, is what is told: later batches may hold more marks, and memory frays."""

_FIRST, _RUNG = 2, 4  # batch norm cannot bear a single case; each next batch is so many times as large
_STEPS, _ENOUGH_S = 8, 10.0
_SAMPLE = 8
_BEFORE = "Before the first epoch"

Answer = Callable[[Computing, Model, Sequence[Step], Sequence[Case]], object]
"""Asks a model about cases as it will be asked when it is measured."""


@dataclass(frozen=True)
class Forecast:
    """What a training will take.

    Args:
        seconds: from now to its last answer.
        peak_bytes: of memory at most, with a margin.
        device: "cpu" or "cuda".
    """

    seconds: float
    peak_bytes: float
    device: str

    def __str__(self) -> str:
        """As a person says it."""
        cores = torch.get_num_threads()
        where = "a graphics card" if self.device == "cuda" else f"{cores} core{'s' if cores > 1 else ''}"
        kind = "graphics memory" if self.device == "cuda" else "memory"
        return f"{about(self.seconds)} on {where}, up to {gigabytes(self.peak_bytes)} of {kind}"


def gigabytes(size: float) -> str:
    """A size as a person says it.

    >>> gigabytes(1.62e9), gigabytes(31e9)
    ('1.6 GB', '31 GB')
    """
    return f"{size / 1e9:.1f} GB" if size < 10e9 else f"{size / 1e9:.0f} GB"


def ready(
    plan_of: Callable[[Computing], Plan],
    folds: Sequence[Fold],
    *,
    section: TrainingSection,
    device: str,
    answer: Answer,
    at_once: int,
    folder: Path,
    progress: Progress,
    before: Sequence[Fold] = (),
) -> Computing:
    """Choose how a run computes, and say what it will take; a run that goes on keeps what it chose.

    Args:
        plan_of: what the folds have in common, with a way to compute put into it.
        folds: all of them.
        section: of the recipe.
        device: "cpu" or "cuda".
        answer: asks a model.
        at_once: cases that it is asked about together.
        folder: of the run; checkpoints lie in its folder `folds`.
        progress: is told.
        before: folds that are trained before these, each as often as settings are still to be tried in it.

    Raises:
        TooLittleMemory: it would not fit; nothing was trained yet.
        InputError: the run's earlier choice cannot be read.
    """
    progress.say("taking a few steps, to see what this training needs")
    kept = load_computing(folder / COMPUTED, device=device)
    with torch.random.fork_rng():
        computing, costs = _rehearsed(
            plan_of, folds, section=section, device=device, kept=kept, answer=answer, at_once=at_once
        )
    if kept is None:
        save_computing(folder / COMPUTED, computing)
    plan = plan_of(computing)
    left = [_epochs_left(plan, checkpoint_of(fold, folder / CHECKPOINTS)) for fold in folds]
    left += [plan.training.epochs + plan.pretraining.epochs] * len(before)
    seconds = _seconds(costs, plan, [*folds, *before], left)
    log.info("%s", costs)
    progress.say(f"computing in {computing.precision}, {computing.memory_format.replace('_', ' ')}")
    progress.say(f"this training takes {Forecast(seconds, costs.peak_bytes * MARGIN, device)}")
    return computing


@dataclass(frozen=True)
class _Costs:
    """What one of each takes in seconds, the steps of an epoch, and what all of it takes in memory."""

    image_s: float
    start_s: float
    step_s: float
    answer_s: float
    steps: int
    peak_bytes: int


def _rehearsed(
    plan_of: Callable[[Computing], Plan],
    folds: Sequence[Fold],
    *,
    section: TrainingSection,
    device: str,
    kept: Computing | None,
    answer: Answer,
    at_once: int,
) -> tuple[Computing, _Costs]:
    """Begin the first fold with a model that is thrown away."""
    plan, memory = plan_of(kept or ways(section, device)[0]), memory_of(device)
    image_s, image_size = _image(plan)
    began = time.perf_counter()
    start = start_of(plan, folds[0])
    start_s = time.perf_counter() - began
    run = begin(start.model, plan.training, plan.fabric)
    run.model.train()
    largest = sorted(cases_of(plan, folds[0].fit), key=partial(_weight, plan), reverse=True)

    def step(count: int) -> None:
        batch = start.batches.batch(largest[:count], 0)
        learn(run, batch, rate=0.0, section=plan.training, fabric=plan.fabric, where=_BEFORE)

    peaks = [_climb(min(section.batch_size, len(folds[0].fit)), step, memory, _too_many_to_learn_from)]
    memory.restart()
    batches = list(islice(start.batches.epoch(0), BATCHES))
    computing = kept or choose(start.model, batches, section, device)
    step_s = _seconds_a_step(plan_of(computing), start)
    peaks.append(memory.peak_bytes())
    cases = _heaviest(plan, folds, at_once)
    answers: list[tuple[int, float]] = []

    def ask(count: int) -> None:
        began = time.perf_counter()
        answer(computing, start.model, start.steps, cases[:count])
        answers.append((count, time.perf_counter() - began))

    peaks.append(_climb(len(cases), ask, memory, _too_many_to_answer))
    if device == "cpu":
        peaks.append(memory.used_bytes() + _kept_bytes(start.model, folds))
    count, seconds = answers[-1]
    answer_s = seconds * image_size / max(sum(_prepared_size(plan, start.steps, case) for case in cases[:count]), 1)
    return computing, _Costs(image_s, start_s, step_s, answer_s, len(start.batches), max(peaks))


def _epochs_left(plan: Plan, checkpoint: Path) -> int:
    """What is still to be learned in a fold; an epoch of pre-training counts as one of training."""
    left = plan.training.epochs - epochs_done(checkpoint)
    if left == plan.training.epochs and plan.pretraining.epochs:
        left += plan.pretraining.epochs - epochs_done(pretrained_of(checkpoint))
    return left


def _seconds(costs: _Costs, plan: Plan, folds: Sequence[Fold], epochs_left: Sequence[int]) -> float:
    """From now to the last answer."""
    preparations = len(plan.manifest.cases) * (len(folds) if learns(plan.steps) else 1)
    seconds = preparations * costs.image_s
    for fold, epochs in zip(folds, epochs_left, strict=True):
        steps = costs.steps * len(fold.fit) / len(folds[0].fit)
        judged = len(fold.validation) if plan.training.keep == "best" else 0
        seconds += costs.start_s + epochs * (steps * costs.step_s + judged * costs.answer_s)
        seconds += (len(fold.validation) + len(fold.test)) * costs.answer_s
    return seconds


def _climb(target: int, do: Callable[[int], None], memory: Memory, too_many: Callable[[int, int], str]) -> int:
    """Do something with more and more cases, up to a number; never with so many that memory might not bear it.

    At first all of the growth counts as that of cases, though weights and their gradients come only once: too much
    is expected then, so that the next number is smaller and shows better what a case takes.

    Returns:
        The peak of memory, in bytes.

    Raises:
        TooLittleMemory: with so many it would not fit.
    """
    size, peak, following = 0, memory.used_bytes(), min(_FIRST, target)
    while size < target:
        memory.restart()
        do(following)
        higher = max(memory.peak_bytes(), peak)
        a_case = max((higher - peak) / (following - size), 1.0)
        size, peak, room = following, higher, memory.room_bytes()
        fits = target if room is None else int(size + (room / MARGIN - peak) / a_case)
        if room is not None and fits < min(size + 1, target):
            needed = MARGIN * (peak + a_case * (target - size))
            raise TooLittleMemory(
                f"{too_many(target, fits)} It would take about {gigabytes(needed)} of memory, and there are "
                f"{gigabytes(room)}. Nothing was learned yet."
            )
        following = min(target, size * _RUNG, fits)
    return peak


def _too_many_to_learn_from(target: int, fits: int) -> str:
    smaller = "make images smaller (a 'resize' step, or augmentation.crop)"
    if fits < _FIRST:
        return f"Not even {_FIRST} images a step fit into memory: {smaller}."
    return f"Steps of {target} images do not fit into memory: set training.batch_size to {fits} or less, or {smaller}."


def _too_many_to_answer(target: int, _fits: int) -> str:
    return f"Asking the model about {target} images does not fit into memory: make them smaller (a 'resize' step)."


def _image(plan: Plan) -> tuple[float, float]:
    """Seconds to prepare an image, and the numbers in one; the mean of a few, without what must first be learned."""
    cases = plan.manifest.cases
    chosen = {round(place) for place in np.linspace(0, len(cases) - 1, min(_SAMPLE, len(cases)))}
    steps = [step for step in plan.steps if not step.learns]
    began = time.perf_counter()
    size = sum(_prepared_size(plan, steps, cases[index]) for index in sorted(chosen))
    return (time.perf_counter() - began) / len(chosen), size / len(chosen)


def _prepared_size(plan: Plan, steps: Sequence[Step], case: Case) -> int:
    return int(input_of(case, steps, plan.images).pixels.size)


def _heaviest(plan: Plan, folds: Sequence[Fold], count: int) -> list[Case]:
    """Of all lots that will be asked about together, the one with the most numbers in images of one size, these first.

    Images of one size go through a network at once, so that this lot takes the most memory.
    """

    def weights(lot: Sequence[Case]) -> dict[int, int]:
        return {one: one * times for one, times in Counter(_weight(plan, case) for case in lot).items()}

    parts = [cases_of(plan, part) for fold in folds for part in (fold.validation, fold.test)]
    lots = [part[start : start + count] for part in parts for start in range(0, len(part), count)]
    heaviest = max(lots, key=lambda lot: max(weights(lot).values()))
    return sorted(heaviest, key=lambda case: weights(heaviest)[_weight(plan, case)], reverse=True)


def _weight(plan: Plan, case: Case) -> int:
    """The pixels of all images of a case, as they were read."""
    return sum(math.prod(plan.images.facts(ref).shape) for ref in case.images)


def _seconds_a_step(plan: Plan, start: Start) -> float:
    """Of a whole step, the making of its batch included."""
    run = begin(start.model, plan.training, plan.fabric)
    run.model.train()
    seconds: list[float] = []
    while len(seconds) < _STEPS and sum(seconds) < _ENOUGH_S:
        batches = islice(start.batches.epoch(0), BATCHES)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            learn(run, batch, rate=0.0, section=plan.training, fabric=plan.fabric, where=_BEFORE)
            seconds.append(time.perf_counter() - began)
    return float(median(seconds[1:] or seconds))


def _kept_bytes(model: Model, folds: Sequence[Fold]) -> int:
    """Weights of finished folds, twice each, and all that a checkpoint holds while it is written."""
    size = sum(int(tensor.nbytes) for tensor in model.state_dict().values())
    return size * (2 * len(folds) + 5)
