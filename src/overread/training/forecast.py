"""What trainings will take, counted from what one of each thing takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from overread.data.fold import Fold
from overread.preprocessing.step import learns
from overread.terminal import about
from overread.training.climbing import gigabytes
from overread.training.crossval import Plan


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


@dataclass(frozen=True)
class Costs:
    """Seconds that one of each takes.

    Args:
        image_s: preparing a case.
        start_s: what a training begins with.
        pretrain_s: learning from a case without its label, once.
        learn_s: learning from a case, once.
        save_s: writing a checkpoint, after every epoch.
        answer_s: asking a model about a case.
    """

    image_s: float
    start_s: float
    pretrain_s: float
    learn_s: float
    save_s: float
    answer_s: float


@dataclass(frozen=True)
class Training:
    """One that is still to be done, or to be ended.

    Args:
        fold: what it learns from, and is asked about.
        pretrained: epochs of its pre-training that it has behind it.
        trained: epochs that it has behind it.
    """

    fold: Fold
    pretrained: int = 0
    trained: int = 0


def seconds_of(costs: Costs, plans: Sequence[Plan], trainings: Sequence[Training]) -> float:
    """From now to the last answer.

    Args:
        costs: of a training as they are mostly.
        plans: as many as there may be; each training follows one of them, and nobody knows which.
        trainings: all of them.
    """
    folds, every = {training.fold.fit: training.fold for training in trainings}.values(), plans[0].manifest.cases
    apart = [len(fold.fit) + len(fold.validation) + len(fold.test) for fold in folds]
    seconds = costs.image_s * (sum(apart) if learns(plans[0].steps) else len(every))
    return seconds + sum(fmean(_training_s(costs, plan, one) for plan in plans) for one in trainings)


def _training_s(costs: Costs, plan: Plan, training: Training) -> float:
    fold = training.fold
    pretraining = max(plan.pretraining.epochs - training.pretrained, 0)
    epochs = max(plan.training.epochs - training.trained, 0)
    judged = epochs * len(fold.validation) if plan.training.asks_validation else 0
    learned = pretraining * costs.pretrain_s + epochs * costs.learn_s
    asked = judged + len(fold.validation) + len(fold.test)
    return costs.start_s + len(fold.fit) * learned + (pretraining + epochs) * costs.save_s + asked * costs.answer_s
