"""How the numbers of a run are computed: on what, how precisely, in which order of memory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from overread.errors import InputError
from overread.models.memory_format import MemoryFormat
from overread.training.section import TrainingSection
from overread.writing import write_whole

Precision = Literal["float32", "bf16"]
Ratio = Annotated[float, Field(ge=0)]

_FORBID: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way to compute that was tried before a training, held against plain float32.

    Args:
        precision: what was computed in.
        memory_format: the order of images and weights in memory.
        time_ratio: how long a forward and backward pass took; below 1 is quicker.
        loss_difference: of the mean loss, as a share of it.
        gradient_difference: of the mean length of the gradient, as a share of it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    precision: Precision
    memory_format: MemoryFormat
    time_ratio: Ratio
    loss_difference: Ratio
    gradient_difference: Ratio


@dataclass(frozen=True, kw_only=True)
class Computing:
    """How a model was trained and measured, and is asked ever after.

    Args:
        device: that its training ended on.
        precision: "bf16" computes in bfloat16 where that is safe, "float32" everywhere.
        memory_format: the order of images and weights in memory.
        trials: what was tried; none where the recipe or the device left no choice.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    device: Literal["cpu", "cuda"]
    precision: Precision
    memory_format: MemoryFormat
    trials: tuple[Trial, ...] = ()

    def put_into(self, section: TrainingSection) -> TrainingSection:
        """The section with nothing left open."""
        return section.model_copy(update={"precision": self.precision, "memory_format": self.memory_format})


def save_computing(path: Path, computing: Computing) -> None:
    """Keep the choice of a run, so that it goes on with it after an interruption."""
    write_whole(path, json.dumps(asdict(computing), indent=1))


def load_computing(path: Path, *, device: str) -> Computing | None:
    """The choice that a run began with, for the device that it goes on with; None where it has not begun.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        return TypeAdapter(Computing).validate_python({**found, "device": device})
    except (ValueError, TypeError) as error:
        raise InputError(
            f"'{path.name}' should say how this run computes, and cannot be read. Nothing was changed; put it back, or "
            "name another folder and train again."
        ) from error
