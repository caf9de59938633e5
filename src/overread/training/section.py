"""The `[pretraining]`, `[training]` and `[search]` sections of a recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from overread.catalogue import suggestion
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

    @property
    def asks_validation(self) -> bool:
        """Whether the validation part is asked after every epoch, where there is one."""
        return self.keep == "best" or self.stop_after is not None or self.schedule == "on-plateau"


CHECKPOINTS = "folds"
"""The folder in a run's folder for what its folds are trained from; it is there while the run is not finished."""

Settings = Mapping[str, Any]
"""Dotted setting, such as "training.learning_rate" -> its value."""

SEARCHED = ("model", "training", "augmentation", "pretraining")
"""The sections whose settings may be searched; what is done to images, parts and numbers is the same for all."""

COUNTED = ("pretraining.epochs", "training.epochs", "training.keep", "training.stop_after", "training.schedule")
"""The settings that say how often something is done, and not what it takes once."""

_COSTLY = ("augmentation.crop", "training.batch_size", "training.optimiser", "training.average")
_MACHINE = "it is about this machine, not about the data"
_NOT_SEARCHED = {
    "model.family": "families are compared by runs of their own (overread compare)",
    "training.precision": _MACHINE,
    "training.memory_format": _MACHINE,
}


class SearchSection(BaseModel):
    """What is tried inside the training part of each fold, for `scheme = "nested-k-fold"`.

    Args:
        trials: how many different settings are tried in each fold: all of them where there are no more, else those
            that a tree-structured Parzen estimator proposes (Bergstra et al., NeurIPS 2011).
        space: dotted setting -> the values to choose from, such as `"training.learning_rate" = [1e-3, 3e-4]`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: Annotated[int, Field(ge=2, le=1000)] = 8
    space: dict[str, tuple[Any, ...]] = {}

    @field_validator("space", mode="before")
    @classmethod
    def _flat(cls, space: Any) -> Any:
        """TOML reads an unquoted training.learning_rate as a table in a table; in one order, whatever was typed."""
        if not isinstance(space, dict):
            return space
        flat: dict[str, Any] = {}
        for key, value in space.items():
            inside = value if isinstance(value, dict) else {}
            flat |= {f"{key}.{name}": inner for name, inner in inside.items()} or {key: value}
        for key, choices in flat.items():
            if not isinstance(choices, list | tuple):
                raise ValueError(f"'{key}' should be a list of values to choose from; found {choices!r}.")
        return {key: tuple(flat[key]) for key in sorted(flat)}  # JSON has lists only

    @field_validator("space")
    @classmethod
    def _choices(cls, space: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for key, choices in space.items():
            section, dot, _ = key.partition(".")
            if section not in SEARCHED or not dot:
                raise ValueError(
                    f"'{key}' is no setting that can be searched: it should begin with the name of a section and a "
                    f'dot, as "training.learning_rate" does. {suggestion(section, SEARCHED)}'
                )
            if key in _NOT_SEARCHED:
                raise ValueError(f"'{key}' is not searched: {_NOT_SEARCHED[key]}. Leave it out.")
            if len({json.dumps(choice, sort_keys=True, default=str) for choice in choices}) != max(len(choices), 2):
                raise ValueError(f"'{key}' should have two or more values, each once; found {list(choices)}.")
        return space

    @property
    def n_trials(self) -> int:
        """How many settings are tried in each fold."""
        return min(self.trials, math.prod(map(len, self.space.values())))

    @property
    def tries_all(self) -> bool:
        """Whether all settings are tried."""
        return self.trials >= math.prod(map(len, self.space.values()))

    @property
    def costly(self) -> list[str]:
        """The settings on which the time and the memory of a step hang."""
        return [key for key in self.space if key.startswith("model.") or key in _COSTLY]

    def all_settings(self, only: Sequence[str] | None = None) -> list[Settings]:
        """Every combination, the last setting varied first; only of some settings where these are named."""
        keys = [key for key in self.space if only is None or key in only]
        return [dict(zip(keys, choices, strict=True)) for choices in product(*(self.space[key] for key in keys))]

    def pairs(self) -> list[Settings]:
        """Settings in which every value comes, and any two of one section together, to be checked before all else."""
        first = {key: choices[0] for key, choices in self.space.items()}
        alone = [(key,) for key in self.space]
        both = [keys for keys in combinations(self.space, 2) if len({key.partition(".")[0] for key in keys}) == 1]
        found: dict[str, Settings] = {}
        for keys in (*alone, *both):
            for values in product(*(self.space[key] for key in keys)):
                settings = first | dict(zip(keys, values, strict=True))
                found[json.dumps(settings, default=str)] = settings
        return list(found.values())


def settings_words(settings: Settings) -> str:
    """Settings as they are written in a recipe.

    >>> settings_words({"model.hidden": (64, 32), "training.learning_rate": 0.001})
    'model.hidden = [64, 32], training.learning_rate = 0.001'
    """
    return ", ".join(f"{key} = {json.dumps(value, default=str)}" for key, value in settings.items())
