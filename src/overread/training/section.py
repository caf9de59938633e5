"""The `[training]` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from overread.data.section import Balance

_Share = Annotated[float, Field(ge=0, le=1)]


class PretrainingSection(BaseModel):
    """How a model learns from the images alone, before it learns from labels; in each fold from its training part.

    Args:
        epochs: times that every training image is shown; 0 does without.
        learning_rate: at its peak.
        weight_decay: pull of the weights towards zero.
        noise: (low, high): noise that is to be taken away, its standard deviation as a share of the image's own range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2
    noise: tuple[_Share, _Share] = (0.02, 0.2)


class TrainingSection(BaseModel):
    """How a model is fitted.

    Args:
        epochs: times that every training case is shown.
        batch_size: cases a step.
        optimiser: a name of the catalogue of optimisers.
        learning_rate: at its peak.
        weight_decay: pull of the weights towards zero.
        schedule: a name of the catalogue of schedules.
        warmup_epochs: over which the learning rate rises to its peak; "one-cycle" has a rise of its own instead.
        step_epochs: for the schedule "step": after how many epochs the rate falls to a tenth.
        patience: for the schedule "on-plateau": after how many epochs without a better validation score (a lower loss,
            where there is no validation part) the rate falls to a tenth.
        stop_after: ends the training after so many epochs without a better validation score; None goes on to the last.
        clip_norm: longest gradient; None does not clip.
        average: decay of an exponential moving average of the weights, such as 0.999; None keeps the weights.
        balance: what is done where classes are unequally common; scores then no longer follow how common a class is.
            "weights": cases of a rare class count more in the loss. "sampling": they are shown more often, so that all
            classes come equally often; a case with several labels or marks counts for the rarest.
        keep: "best" keeps the epoch with the best validation score, "last" the last one.
        precision: "bf16" computes in bfloat16 where that is safe, "float32" everywhere; "auto" takes bfloat16 where a
            few steps before the training show that it is quicker and gives the same loss (on a graphics card: where
            the card knows it).
        memory_format: order of images and weights in memory, "channels_last" or "contiguous"; "auto" takes the
            quicker one, found likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    optimiser: str = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2
    schedule: str = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 1.0
    step_epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    patience: Annotated[int, Field(ge=1, le=100_000)] = 5
    stop_after: Annotated[int, Field(ge=1, le=100_000)] | None = None
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = 5.0
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    balance: Balance = "none"
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
