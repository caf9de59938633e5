"""Optimisers, and the learning rate as a function of how far training is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer

from overread.catalogue import Catalogue
from overread.training.section import TrainingSection

MakeOptimiser = Callable[..., Optimizer]
"""Takes parameter groups and `lr`."""

Schedule = Callable[[float, TrainingSection, Sequence[int]], float]
"""Gives the share of the peak learning rate, in (0, 1].

Takes the epochs gone by (a fraction counts), the section, and for how long, after each epoch, no later one was better
(see `loop.epochs_without_better`).
"""

optimisers: Catalogue[MakeOptimiser] = Catalogue("optimiser", "overread.training")
schedules: Catalogue[Schedule] = Catalogue("schedule", "overread.training")

optimisers.add("sgd")(torch.optim.SGD)
optimisers.add("momentum")(partial(torch.optim.SGD, momentum=0.9))
optimisers.add("nesterov")(partial(torch.optim.SGD, momentum=0.9, nesterov=True))
# "fused" goes through the weights once a step instead of once an operation; with momentum it cannot bear weights that
# get their first gradient later than others
optimisers.add("adam")(partial(torch.optim.Adam, fused=True))
optimisers.add("adamw")(partial(torch.optim.AdamW, fused=True))
optimisers.add("rmsprop")(torch.optim.RMSprop)

_LOWEST = 1e-6
_RISING = 0.3  # of the training


@schedules.add("constant")
def constant(epochs: float, section: TrainingSection, _waits: Sequence[int]) -> float:
    """The peak all the time, after the warm-up."""
    return _warmed(epochs, section)


@schedules.add("step")
def step(epochs: float, section: TrainingSection, _waits: Sequence[int]) -> float:
    """A tenth of what it was, every `step_epochs`; at the lowest a millionth of the peak."""
    return _warmed(epochs, section) * max(0.1 ** (int(epochs) // section.step_epochs), _LOWEST)


@schedules.add("cosine")
def cosine(epochs: float, section: TrainingSection, _waits: Sequence[int]) -> float:
    """Half a cosine from the peak to a hundredth of it (Loshchilov and Hutter, ICLR 2017, without restarts)."""
    gone = (epochs - section.warmup_epochs) / max(section.epochs - section.warmup_epochs, 1e-9)
    return _warmed(epochs, section) * _fallen(gone, 1.0, 0.01)


@schedules.add("one-cycle")
def one_cycle(epochs: float, section: TrainingSection, _waits: Sequence[int]) -> float:
    """From 1/25 of the peak up to it within three tenths of the training, then down to nearly nothing.

    As Smith and Topin (Super-Convergence, 2018), with half cosines for straight lines and momentum left as it is.
    """
    gone = epochs / section.epochs
    if gone < _RISING:
        return _fallen(gone / _RISING, 1 / 25, 1.0)
    return _fallen((gone - _RISING) / (1 - _RISING), 1.0, 1 / 250_000)


@schedules.add("on-plateau")
def on_plateau(epochs: float, section: TrainingSection, waits: Sequence[int]) -> float:
    """A tenth of what it was after every `patience` epochs that brought nothing better; at the lowest a millionth."""
    falls = sum(wait > 0 and wait % section.patience == 0 for wait in waits)
    return _warmed(epochs, section) * max(0.1**falls, _LOWEST)


def learning_rate(epochs: float, section: TrainingSection, waits: Sequence[int] = ()) -> float:
    """The learning rate after so many epochs, of which `waits` tells how they went (see `Schedule`)."""
    return section.learning_rate * schedules.get(section.schedule)(epochs, section, waits)


def _warmed(epochs: float, section: TrainingSection) -> float:
    """A straight rise to 1 over `warmup_epochs`."""
    return min(1.0, (epochs + 1e-3) / section.warmup_epochs) if section.warmup_epochs else 1.0


def _fallen(gone: float, start: float, end: float) -> float:
    """Half a cosine from one share to another."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(gone, 0.0), 1.0)))


def optimiser_for(model: nn.Module, section: TrainingSection) -> Optimizer:
    """The optimiser named in the section; weight decay leaves out biases and norms, which have one axis."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: Iterable[dict[str, object]] = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return optimisers.get(section.optimiser)(groups, lr=section.learning_rate)
