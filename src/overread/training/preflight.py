"""What a training will take, told before it begins; one that does not fit into memory does not begin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from overread.data.fold import Fold
from overread.progress import Progress
from overread.training.climbing import MARGIN
from overread.training.computing import Computing, load_computing, save_computing
from overread.training.crossval import Plan, checkpoint_of, pretrained_of
from overread.training.forecast import Forecast, Training, seconds_of
from overread.training.loop import epochs_done
from overread.training.rehearsal import Answer, Choosing, rehearsed
from overread.training.section import CHECKPOINTS, COUNTED, TrainingSection

log = logging.getLogger(__name__)

COMPUTED = "computed.json"
"""The file in a run's folder that says how it computes."""


def ready(
    plan_of: Callable[[Computing], Plan],
    folds: Sequence[Fold],
    *,
    section: TrainingSection,
    choosing: Choosing,
    device: str,
    answer: Answer,
    at_once: int,
    folder: Path,
    progress: Progress,
) -> Computing:
    """Choose how a run computes, and say what it will take; a run that goes on keeps what it chose.

    Args:
        plan_of: what the folds have in common, with a way to compute put into it.
        folds: all of them.
        section: of the recipe.
        choosing: what is tried before.
        device: "cpu" or "cuda".
        answer: asks a model.
        at_once: cases that it is asked about together.
        folder: of the run; checkpoints lie in its folder `folds`.
        progress: is told.

    Raises:
        TooLittleMemory: it would not fit; nothing was trained yet.
        RecipeError: a first step fails, because model, images or batches do not go together.
        InputError: the run's earlier choice cannot be read.
    """
    progress.say("taking a few steps, to see what this training needs")
    kept = load_computing(folder / COMPUTED, device=device)
    with torch.random.fork_rng():
        computing, costs, peak_bytes = rehearsed(
            plan_of,
            folds,
            section=section,
            choosing=choosing,
            device=device,
            kept=kept,
            answer=answer,
            at_once=at_once,
            folder=folder,
        )
    if kept is None:
        save_computing(folder / COMPUTED, computing)
    plan = plan_of(computing)
    plans = [choosing.vary(plan, settings) for settings in choosing.section.all_settings(COUNTED)]
    trainings = [_begun(fold, checkpoint_of(fold, folder / CHECKPOINTS)) for fold in folds]
    trainings += [Training(fold) for fold in choosing.folds]
    log.info("%s, %d bytes", costs, peak_bytes)
    progress.say(f"computing in {computing.precision}, {computing.memory_format.replace('_', ' ')}")
    forecast = Forecast(seconds_of(costs, plans, trainings), peak_bytes * MARGIN, device)
    progress.say(f"this training takes {forecast}")
    return computing


def _begun(fold: Fold, checkpoint: Path) -> Training:
    return Training(fold, epochs_done(pretrained_of(checkpoint)), epochs_done(checkpoint))
