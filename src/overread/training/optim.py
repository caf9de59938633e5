"""Optimisers, and the learning rate as a function of how far training is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer

from overread.catalogue import Catalogue
from overread.training.section import TrainingSection

MakeOptimiser = Callable[..., Optimizer]
"""Takes parameter groups and `lr`."""

Schedule = Callable[[float, TrainingSection], float]
"""Takes the epochs gone by (a fraction counts) and the section; gives the share of the peak learning rate."""

optimisers: Catalogue[MakeOptimiser] = Catalogue("optimiser", "overread.training")
schedules: Catalogue[Schedule] = Catalogue("schedule", "overread.training")

optimisers.add("sgd")(torch.optim.SGD)
optimisers.add("momentum")(partial(torch.optim.SGD, momentum=0.9))
optimisers.add("nesterov")(partial(torch.optim.SGD, momentum=0.9, nesterov=True))
# "fused" goes through the weights once a step instead of once an operation; with momentum it cannot bear weights that
# get their first gradient later than others
optimisers.add("adam")(partial(torch.optim.Adam, fused=True))
optimisers.add("adamw")(partial(torch.optim.AdamW, fused=True))


@schedules.add("constant")
def constant(_epochs: float, _section: TrainingSection) -> float:
    """The peak all the time."""
    return 1.0


@schedules.add("step")
def step(epochs: float, section: TrainingSection) -> float:
    """A tenth of what it was, every `step_epochs`."""
    return float(0.1 ** (int(epochs) // section.step_epochs))


@schedules.add("cosine")
def cosine(epochs: float, section: TrainingSection) -> float:
    """Half a cosine from the peak to a hundredth of it (Loshchilov and Hutter, ICLR 2017, without restarts)."""
    gone = (epochs - section.warmup_epochs) / max(section.epochs - section.warmup_epochs, 1e-9)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(max(gone, 0.0), 1.0)))


def learning_rate(epochs: float, section: TrainingSection) -> float:
    """The learning rate after so many epochs: a straight rise over `warmup_epochs`, then the schedule."""
    rise = min(1.0, (epochs + 1e-3) / section.warmup_epochs) if section.warmup_epochs else 1.0
    return section.learning_rate * rise * schedules.get(section.schedule)(epochs, section)


def optimiser_for(model: nn.Module, section: TrainingSection) -> Optimizer:
    """The optimiser named in the section; weight decay leaves out biases and norms, which have one axis."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: Iterable[dict[str, object]] = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return optimisers.get(section.optimiser)(groups, lr=section.learning_rate)
