"""Cross-validation: a model for every fold, each fitted without a look at what it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from overread import io
from overread.data.dataset import CaseBatches
from overread.data.inputs import measured
from overread.data.manifest import Case, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection
from overread.data.split import Fold
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


def fit_folds(plan: Plan, folds: Sequence[Fold], *, folder: Path, progress: Progress) -> Iterator[FittedFold]:
    """Fit one model a fold; what an earlier, interrupted call had finished is not done again.

    Args:
        plan: what the folds have in common.
        folds: from `folds_of`.
        folder: for the checkpoints, `fold-0/checkpoint.safetensors` and so on.
        progress: shows epochs and the time left.
    """
    cases = {case.case_id: case for case in plan.manifest.cases}
    for fold in progress.track(folds, what="folds") if len(folds) > 1 else folds:
        what = f"fold {fold.index + 1} of {len(folds)}" if len(folds) > 1 else "training"
        parts = {name: [cases[key] for key in getattr(fold, name)] for name in ("fit", "validation")}
        yield _fit_fold(plan, fold, parts, folder=folder / f"fold-{fold.index}", what=what, progress=progress)


def _fit_fold(
    plan: Plan, fold: Fold, parts: dict[str, list[Case]], *, folder: Path, what: str, progress: Progress
) -> FittedFold:

    seed = seed_for(plan.seed, "fold", fold.index)
    steps = fit_steps(plan.steps, lambda: _as_read(parts["fit"]))
    torch.manual_seed(seed_for(seed, "weights"))
    model = plan.build()
    batches = CaseBatches(
        plan.manifest,
        parts["fit"],
        images=plan.images,
        steps=steps,
        batch_size=plan.training.batch_size,
        augmentation=plan.augmentation,
        seed=seed,
        axes=plan.axes,
        fill_slices=model.takes_sequences,
        balance=plan.training.balance,
    )
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    if plan.pretraining.epochs:
        seconds = pretrain(
            model,
            batches,
            section=plan.pretraining,
            training=plan.training,
            seed=seed_for(seed, "pretraining"),
            fabric=plan.fabric,
            checkpoint=folder / "pretraining.safetensors",
            what=f"{what}, pre-training",
            progress=progress,
        )
    judge: Any = (lambda judged: plan.judge(judged, steps, parts["validation"])) if parts["validation"] else None
    fitted = fit(
        model,
        batches,
        section=plan.training,
        seed=seed,
        fabric=plan.fabric,
        checkpoint=folder / "checkpoint.safetensors",
        score=judge,
        what=what,
        progress=progress,
    )
    model.load_state_dict(fitted.weights)
    return FittedFold(fold, steps, model, fitted, seconds + fitted.seconds)


def _as_read(cases: Sequence[Case]) -> Iterator[Image]:
    for case in cases:
        if case.measurements:
            yield measured(case)
        for ref in case.images:
            yield io.read(ref.path, item=ref.item)
