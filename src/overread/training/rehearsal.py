"""A training begun with models that are thrown away, to see what one of each thing takes."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from overread.data.fold import Fold
from overread.data.inputs import input_of, slices_of
from overread.data.manifest import Case
from overread.errors import RecipeError, TooLittleMemory
from overread.models.contract import Batch, Model
from overread.preprocessing.step import Step
from overread.training.allocation import give_back_freed_memory
from overread.training.climbing import FIRST, climb
from overread.training.computing import Computing
from overread.training.crossval import Plan, Start, cases_of, start_of
from overread.training.first_step import first_step
from overread.training.forecast import Costs
from overread.training.loop import Run, begin, learn, save
from overread.training.memory import memory_of
from overread.training.pretraining import learner_of, section_of
from overread.training.probe import BATCHES, choose, ways
from overread.training.section import SearchSection, Settings, TrainingSection, settings_words

_STEPS, _ENOUGH_S = 8, 10.0
_SAMPLE = 8
_BEFORE = "Before the first epoch"

Answer = Callable[[Computing, Model, Sequence[Step], Sequence[Case]], object]
"""Asks a model about cases as it will be asked when it is measured."""


@dataclass(frozen=True, eq=False)
class Choosing:
    """What is tried before the folds are trained with what was chosen.

    Args:
        section: the settings to choose from; none, where the folds are trained as the recipe says.
        vary: gives a plan with such settings in place of its own.
        folds: one for every training that is still to be done before.
    """

    section: SearchSection
    vary: Callable[[Plan, Settings], Plan]
    folds: Sequence[Fold]


def rehearsed(
    plan_of: Callable[[Computing], Plan],
    folds: Sequence[Fold],
    *,
    section: TrainingSection,
    choosing: Choosing,
    device: str,
    kept: Computing | None,
    answer: Answer,
    at_once: int,
    folder: Path,
) -> tuple[Computing, Costs, int]:
    """Rehearse the first fold, with every value of a setting that may be chosen and on which a step hangs.

    A value is rehearsed with the heaviest of the settings before it, so that the heaviest of all come together. How
    much longer it takes than the first of its setting is taken to be the same whatever the others are.

    Args:
        plan_of: as for `ready`, and so are the others.
        folds: all of them.
        section: of the recipe.
        choosing: what is tried before.
        device: "cpu" or "cuda".
        kept: how the run computes, where it was chosen before.
        answer: asks a model.
        at_once: cases that it is asked about together.
        folder: of the run; what is written there to see how long it takes is gone afterwards.

    Returns:
        How to compute, what a training takes on average, and the bytes that the heaviest takes.

    Raises:
        TooLittleMemory: one that may be chosen would not fit.
        RecipeError: one that may be chosen fails at the images.
    """
    space = choosing.section.space
    settings = {key: choices[0] for key, choices in space.items()}
    if "pretraining.epochs" in space:
        settings["pretraining.epochs"] = max(space["pretraining.epochs"])
    first = choosing.vary(plan_of(kept or ways(section, device)[0]), settings)
    image_s, image_size = _image(first)
    began = time.perf_counter()
    steps = start_of(first, folds[0]).steps  # what they learn is the same for all settings
    start_s = time.perf_counter() - began
    others = {key: space[key][1:] for key in choosing.section.costly}
    enough_s = _ENOUGH_S / (1 + sum(map(len, others.values())))

    def tried(settings: Settings, kept: Computing | None) -> tuple[Computing, _Taken]:
        def of(computing: Computing) -> Plan:
            return replace(choosing.vary(plan_of(computing), settings), steps=steps)

        try:
            return _tried(
                of,
                folds,
                section=section,
                device=device,
                kept=kept,
                answer=answer,
                at_once=at_once,
                folder=folder,
                enough_s=enough_s,
            )
        except (TooLittleMemory, RecipeError) as error:
            if not settings:
                raise
            raise type(error)(f"[search.space] with {settings_words(settings)}: {error}") from error

    computing, heaviest = tried(settings, kept)
    typical = heaviest.seconds
    for key, values in others.items():
        found = [heaviest, *(tried(settings | {key: value}, computing)[1] for value in values)]
        seconds = np.stack([one.seconds for one in found])
        typical = typical * seconds.mean(0) / np.where(seconds[0] > 0, seconds[0], 1.0)
        heaviest = max(found, key=lambda one: one.peak_bytes)
        settings[key] = (settings[key], *values)[found.index(heaviest)]
    pretrain_s, learn_s, save_s, number_s = typical.tolist()
    costs = Costs(image_s, start_s, pretrain_s, learn_s, save_s, number_s * image_size)
    return computing, costs, heaviest.peak_bytes


@dataclass(frozen=True, eq=False)
class _Taken:
    """What one choice takes.

    Args:
        seconds: to learn from a case without its label and with it, to save, and to ask about a number of an image.
        peak_bytes: of memory.
    """

    seconds: NDArray[np.float64]
    peak_bytes: int


def _tried(
    plan_of: Callable[[Computing], Plan],
    folds: Sequence[Fold],
    *,
    section: TrainingSection,
    device: str,
    kept: Computing | None,
    answer: Answer,
    at_once: int,
    folder: Path,
    enough_s: float,
) -> tuple[Computing, _Taken]:
    """Begin the first fold in one way."""
    give_back_freed_memory()
    plan, memory = plan_of(kept or ways(section, device)[0]), memory_of(device)
    start = start_of(plan, folds[0])
    largest = sorted(cases_of(plan, folds[0].fit), key=partial(_weight, plan), reverse=True)
    image = start.batches.batch(largest[:1], 0).images

    def climbed(model: Model, how: TrainingSection) -> int:
        step = _step(_begun(model, how, plan.fabric), how, plan.fabric)

        def do(count: int) -> None:
            step(start.batches.batch(largest[:count], 0))

        peak = climb(min(how.batch_size, len(largest)), do, memory, _too_many_to_learn_from)
        extremes = largest[:: max(len(largest) - 1, 1)]  # what bears the largest may still fail at the smallest
        step(start.batches.batch(extremes[-how.batch_size :], 0))
        return peak

    peaks = [climbed(model, how) for model, how in _stages(plan, start, image)]
    memory.restart()
    computing = kept or choose(start.model, list(islice(start.batches.epoch(0), BATCHES)), section, device)
    chosen = plan_of(computing)
    seconds, save_s = [], 0.0
    for model, how in _stages(chosen, start, image):
        run = _begun(model, how, chosen.fabric)
        seconds.append(_seconds_a_case(_step(run, how, chosen.fabric), start, enough_s))
        save_s = _seconds_to_save(run, folder)
    peaks.append(memory.peak_bytes())
    for case in _extremes(plan, folds):
        _answered(start, chosen, case)
    cases = _heaviest(plan, folds, at_once)
    answers: list[tuple[int, float]] = []

    def ask(count: int) -> None:
        began = time.perf_counter()
        answer(computing, start.model, start.steps, cases[:count])
        answers.append((count, time.perf_counter() - began))

    peaks.append(climb(len(cases), ask, memory, _too_many_to_answer))
    if device == "cpu":
        peaks.append(memory.used_bytes() + _kept_bytes(start.model, folds))
    count, asked_s = answers[-1]
    numbers = sum(_prepared_size(plan, start.steps, case) for case in cases[:count])
    return computing, _Taken(np.array([sum(seconds[:-1]), seconds[-1], save_s, asked_s / max(numbers, 1)]), max(peaks))


def _stages(plan: Plan, start: Start, image: Tensor) -> Iterator[tuple[Model, TrainingSection]]:
    """What learns in a training, and how: from images alone where the plan says so, then from their truth."""
    if plan.pretraining.epochs:
        with first_step(image, batch_size=len(image)):
            learner = learner_of(start.model, image, noise=plan.pretraining.noise)
        yield learner, section_of(plan.pretraining, plan.training)
    yield start.model, plan.training


def _begun(model: Model, section: TrainingSection, fabric: Fabric) -> Run:
    run = begin(model, section, fabric)
    run.model.train()
    return run


def _step(run: Run, section: TrainingSection, fabric: Fabric) -> Callable[[Batch], object]:
    """Learns from a batch as in the training, but for the weights, which stay."""

    def step(batch: Batch) -> None:
        with first_step(batch.images, batch_size=section.batch_size):
            learn(run, batch, rate=0.0, section=section, fabric=fabric, where=_BEFORE)

    return step


def _answered(start: Start, plan: Plan, case: Case) -> None:
    """Ask about an image as it is, which may be of another size than what is learned from."""
    image = slices_of(input_of(case, start.steps, plan.images), plan.axes)
    images = torch.from_numpy(np.stack([image])).to(plan.fabric.device)
    with first_step(images, batch_size=plan.training.batch_size), torch.inference_mode():
        start.model.eval().predict(images)


def _seconds_to_save(run: Run, folder: Path) -> float:
    with TemporaryDirectory(dir=folder, prefix=".rehearsal-") as inside:
        began = time.perf_counter()
        weights = {name: tensor.detach().cpu().clone() for name, tensor in run.judged.state_dict().items()}
        save(run, Path(inside) / "checkpoint.safetensors", "rehearsed", [], (0, weights))
        return time.perf_counter() - began


def _seconds_a_case(step: Callable[[Batch], object], start: Start, enough_s: float) -> float:
    """Of whole steps, the making of their batches included."""
    seconds: list[float] = []
    taken = 0.0
    while len(seconds) < _STEPS and taken < enough_s:
        batches = islice(start.batches.epoch(0), BATCHES)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            step(batch)
            whole = time.perf_counter() - began
            taken += whole
            seconds.append(whole / len(batch.case_ids))
    return float(median(seconds[1:] or seconds))


def _too_many_to_learn_from(target: int, fits: int) -> str:
    smaller = "make images smaller (a 'resize' step, or augmentation.crop)"
    if fits < FIRST:
        return f"Not even {FIRST} images a step fit into memory: {smaller}."
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


def _extremes(plan: Plan, folds: Sequence[Fold]) -> list[Case]:
    """Of all cases that will be asked about, one with the fewest pixels and one with the most."""
    keys = {key for fold in folds for key in (*fold.validation, *fold.test)}
    cases = cases_of(plan, sorted(keys))
    return [pick(cases, key=partial(_weight, plan)) for pick in (min, max)]


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


def _kept_bytes(model: Model, folds: Sequence[Fold]) -> int:
    """Weights of finished folds, twice each, and all that a checkpoint holds while it is written."""
    size = sum(int(tensor.nbytes) for tensor in model.state_dict().values())
    return size * (2 * len(folds) + 5)
