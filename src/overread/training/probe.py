"""Which way to compute is the quickest here, found out before a training begins."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import fmean
from typing import Literal, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from overread.errors import RecipeError
from overread.models.contract import Batch, Model
from overread.models.memory_format import MemoryFormat, lay_out
from overread.provenance import seed_for
from overread.training.computing import Computing, Precision, Trial
from overread.training.loop import fabric_for, losses_of
from overread.training.section import TrainingSection

log = logging.getLogger(__name__)

BATCHES = 3
WORTH_IT = 0.9
"""A way is taken when it needs at most this share of the time of the one before it, which is plainer."""

LOSS_DIFFERS = 0.05
"""A share of the loss of float32 beyond which another way is not trusted.

bfloat16 keeps 8 bits, so that each operation rounds by up to 2^-9, and a hundred layers whose roundings are independent
by about 2 %. The mean loss of three batches of the shipped recipes moved by 0.2 % to 1.8 %, most where proposals that
are drawn by their scores change. A way that is broken is off by far more, or is no number.
"""

GRADIENT_DIFFERS = 0.15
"""The same for the length of the gradient, which rounds on the way back too; the recipes moved by up to 4 %."""

_ROUNDS, _ENOUGH_S = 12, 20.0


def ways(section: TrainingSection, device: str, *, volumetric: bool = False) -> list[Computing]:
    """All ways to compute that a recipe and a device leave open, the plainest first.

    Args:
        section: of the recipe.
        device: "cpu" or "cuda".
        volumetric: whether the model has convolutions over volumes. On a CPU their weights are learned in float32
            only: oneDNN's gradient of them in bfloat16 held numbers of 1e37 where maps were 2 x 2 x 2 (torch 2.15),
            not in every run, so that a few steps cannot show it.

    Raises:
        RecipeError: bfloat16 for such a model.
    """
    precision, memory_format = section.precision, section.memory_format
    if volumetric and device == "cpu":
        if precision == "bf16":
            raise RecipeError(
                "training.precision: this model has convolutions over volumes, whose gradients in bf16 are wrong at "
                "times on a CPU. Set it to 'float32' or 'auto'."
            )
        precision = "float32"
    if device == "cuda":  # both are what its units for matrices are made for
        known = torch.cuda.is_bf16_supported(including_emulation=False)
        precision = ("bf16" if known else "float32") if precision == "auto" else precision
        memory_format = "channels_last" if memory_format == "auto" else memory_format
    precisions = ["float32", "bf16"] if precision == "auto" else [precision]
    formats = ["contiguous", "channels_last"] if memory_format == "auto" else [memory_format]
    return [
        Computing(
            device=cast(Literal["cpu", "cuda"], device),
            precision=cast(Precision, one),
            memory_format=cast(MemoryFormat, other),
        )
        for one, other in product(precisions, formats)
    ]


def choose(model: Model, batches: Sequence[Batch], section: TrainingSection, device: str) -> Computing:
    """The quickest way that gives the loss and the gradient of the plainest one; no steps are made where one is left.

    Args:
        model: on the device; its weights stay, though not their order in memory, nor what its norms have counted.
        batches: about three, of the size and kind that it will learn from.
        section: what it says is not tried.
        device: "cpu" or "cuda".

    Raises:
        RecipeError: see `ways`.
    """
    volumetric = any(isinstance(layer, nn.Conv3d | nn.ConvTranspose3d) for layer in model.modules())
    open_to_us = ways(section, device, volumetric=volumetric)
    if len(open_to_us) == 1:
        return open_to_us[0]
    found = [_Measured(way, fabric_for(device, way.precision)) for way in open_to_us]
    started = time.perf_counter()
    for number in range(-1, _ROUNDS):  # one to warm up; in turns, so that a busy machine is so for all
        for one in found:
            one.step(model, batches, section, number)
        if number + 1 >= BATCHES and time.perf_counter() - started > _ENOUGH_S:
            break
    trials = tuple(one.against(found[0]) for one in found)
    for trial in trials:
        log.info("%s", trial)
    return replace(open_to_us[best_of(trials)], trials=trials)


def best_of(trials: Sequence[Trial]) -> int:
    """Which of the ways, the plainest of which comes first, is taken."""
    best = 0
    for index, trial in enumerate(trials):
        agrees = trial.loss_difference <= LOSS_DIFFERS and trial.gradient_difference <= GRADIENT_DIFFERS
        if agrees and trial.time_ratio < WORTH_IT * trials[best].time_ratio:
            best = index
    return best


@dataclass
class _Measured:
    way: Computing
    fabric: Fabric
    seconds: dict[int, float] = field(default_factory=dict)  # of each batch the quickest: a busy machine only adds
    losses: list[float] = field(default_factory=list)
    gradients: list[float] = field(default_factory=list)

    def step(self, model: Model, batches: Sequence[Batch], section: TrainingSection, number: int) -> None:
        """One forward and backward pass; one with a number below 0 is forgotten."""
        place = max(number, 0) % len(batches)
        section = section.model_copy(update={"memory_format": self.way.memory_format})
        lay_out(model, self.way.memory_format).train()
        model.zero_grad(set_to_none=True)
        torch.manual_seed(seed_for("probe", number))  # the same draws for all
        started = time.perf_counter()
        loss = torch.stack(list(losses_of(model, batches[place], section=section, fabric=self.fabric).values())).sum()
        self.fabric.backward(loss)
        seconds = time.perf_counter() - started
        gradients = [one.grad for one in model.parameters() if one.grad is not None]
        length = float(torch.nn.utils.get_total_norm(gradients))
        model.zero_grad(set_to_none=True)
        if number >= 0:
            self.seconds[place] = min(seconds, self.seconds.get(place, seconds))
            self.losses.append(float(loss.detach()))
            self.gradients.append(length)

    def against(self, plainest: _Measured) -> Trial:
        return Trial(
            precision=self.way.precision,
            memory_format=self.way.memory_format,
            time_ratio=round(sum(self.seconds.values()) / sum(plainest.seconds.values()), 3),
            loss_difference=_difference(self.losses, plainest.losses),
            gradient_difference=_difference(self.gradients, plainest.gradients),
        )


def _difference(found: Sequence[float], expected: Sequence[float]) -> float:
    """Of the means, as a share of what is expected; what is no number differs beyond all bounds that matter here."""
    difference = abs(fmean(found) - fmean(expected)) / max(abs(fmean(expected)), 1e-12)
    return round(difference, 4) if math.isfinite(difference) else 1e9
