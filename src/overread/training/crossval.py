"""Cross-validation: a model for every fold, each fitted without a look at what it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from overread import io
from overread.data.dataset import CaseBatches
from overread.data.fold import Fold
from overread.data.inputs import measured
from overread.data.manifest import Case, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection
from overread.image import Axes, Image
from overread.models.contract import Model
from overread.preprocessing.step import Step, fit_steps
from overread.progress import Progress
from overread.provenance import seed_for
from overread.training.loop import Fitted, fit
from overread.training.pretraining import pretrain
from overread.training.section import PretrainingSection, TrainingSection

Judge = Callable[[Model, Sequence[Step], Sequence[Case]], float | None]
"""Takes a model, its steps and the validation cases; gives a score, higher is better, None where undefined."""


@dataclass(frozen=True, eq=False)
class FittedFold:
    """What one fold gave.

    Args:
        fold: which cases had which part in it.
        steps: the preprocessing with the numbers learned from the fold's training part.
        model: with the weights of the kept epoch.
        fitted: these weights, and how training went.
        seconds: that all learning took, what came before the labels included.
    """

    fold: Fold
    steps: tuple[Step, ...]
    model: Model
    fitted: Fitted
    seconds: float


@dataclass(frozen=True, eq=False)
class Start:
    """What one fold begins with.

    Args:
        seed: of the fold.
        model: fresh, on the CPU.
        steps: the preprocessing with the numbers learned from the fold's training part.
        batches: the training part.
    """

    seed: int
    model: Model
    steps: tuple[Step, ...]
    batches: CaseBatches


@dataclass(frozen=True, eq=False)
class Plan:
    """All that the folds have in common.

    Args:
        manifest: the data set.
        images: where prepared images come from.
        steps: as written in the recipe.
        build: makes a fresh model.
        axes: of the images (see `models.contract.Shape`).
        augmentation: how training images are varied.
        pretraining: what it learns from the images alone before.
        training: how a model is fitted.
        seed: of the recipe.
        fabric: device and precision.
        judge: scores a model on validation cases.
    """

    manifest: Manifest
    images: PreparedImages
    steps: tuple[Step, ...]
    build: Callable[[], Model]
    axes: Axes
    augmentation: AugmentationSection
    pretraining: PretrainingSection
    training: TrainingSection
    seed: int
    fabric: Fabric
    judge: Judge


def fit_folds(
    plan: Plan,
    folds: Sequence[Fold],
    *,
    folder: Path,
    progress: Progress,
    own: Mapping[int, Plan] | None = None,
    what: str = "training",
) -> Iterator[FittedFold]:
    """Fit one model a fold; what an earlier, interrupted call had finished is not done again.

    Args:
        plan: what the folds have in common.
        folds: from `folds_of`.
        folder: for the checkpoints, `fold-0/checkpoint.safetensors` and so on.
        progress: shows epochs and the time left.
        own: index of a fold -> its plan, where it has settings of its own.
        what: what to call a single fold in the progress shown.

    Raises:
        OutputExists: what an earlier call had learned rests on other folds.
        Exception: anything that ends a fold, with a note that says which one; those before it stay on the disk.
    """
    for fold in progress.track(folds, what="folds") if len(folds) > 1 else folds:
        called = f"fold {fold.index + 1} of {len(folds)}" if len(folds) > 1 else what
        chosen = (own or {}).get(fold.index, plan)
        try:
            fitted = _fit_fold(chosen, fold, checkpoint=checkpoint_of(fold, folder), what=called, progress=progress)
        except Exception as error:
            error.add_note(f"It happened in {called}.")
            raise
        yield fitted


def start_of(plan: Plan, fold: Fold) -> Start:
    """The same whenever it is asked for."""
    seed = seed_for(plan.seed, "fold", fold.index)
    cases = cases_of(plan, fold.fit)
    steps = fit_steps(plan.steps, lambda: _as_read(cases))
    torch.manual_seed(seed_for(seed, "weights"))
    model = plan.build()
    batches = CaseBatches(
        plan.manifest,
        cases,
        images=plan.images,
        steps=steps,
        batch_size=plan.training.batch_size,
        augmentation=plan.augmentation,
        seed=seed,
        axes=plan.axes,
        fill_slices=model.takes_sequences,
        balance=plan.training.balance,
    )
    return Start(seed, model, steps, batches)


def checkpoint_of(fold: Fold, folder: Path) -> Path:
    """Where the checkpoint of a fold is kept."""
    return folder / f"fold-{fold.index}" / "checkpoint.safetensors"


def pretrained_of(checkpoint: Path) -> Path:
    """The checkpoint of the pre-training that came before."""
    return checkpoint.with_name("pretraining.safetensors")


def cases_of(plan: Plan, keys: Sequence[str]) -> list[Case]:
    """The cases of these ids."""
    cases = {case.case_id: case for case in plan.manifest.cases}
    return [cases[key] for key in keys]


def _fit_fold(plan: Plan, fold: Fold, *, checkpoint: Path, what: str, progress: Progress) -> FittedFold:
    start = start_of(plan, fold)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    validation = cases_of(plan, fold.validation)
    seconds = 0.0
    if plan.pretraining.epochs:
        seconds = pretrain(
            start.model,
            start.batches,
            images=start.batches.batch(cases_of(plan, fold.fit[:1]), 0).images,
            section=plan.pretraining,
            training=plan.training,
            seed=seed_for(start.seed, "pretraining"),
            fabric=plan.fabric,
            checkpoint=pretrained_of(checkpoint),
            fold=fold.digest,
            what=f"{what}, pre-training",
            progress=progress,
        )
    fitted = fit(
        start.model,
        start.batches,
        section=plan.training,
        seed=start.seed,
        fabric=plan.fabric,
        checkpoint=checkpoint,
        fold=fold.digest,
        score=(lambda judged: plan.judge(judged, start.steps, validation)) if validation else None,
        what=what,
        progress=progress,
    )
    start.model.load_state_dict(fitted.weights)
    return FittedFold(fold, start.steps, start.model, fitted, seconds + fitted.seconds)


def _as_read(cases: Sequence[Case]) -> Iterator[Image]:
    for case in cases:
        if case.measurements:
            yield measured(case)
        for ref in case.images:
            yield io.read(ref.path, item=ref.item)
