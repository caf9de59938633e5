"""The `[evaluation]` section of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class EvaluationSection(BaseModel):
    """How numbers are made.

    Args:
        draws: bootstrap draws over patients.
        level: of the intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    draws: Annotated[int, Field(ge=100, le=100_000)] = 1000
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
