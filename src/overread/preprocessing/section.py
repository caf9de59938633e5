"""The `[preprocessing]` section of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny

from overread.errors import UnknownName
from overread.preprocessing.step import Step, steps


def step_from(settings: Any) -> Step:
    """A step from its table in a recipe: `step` names it, the other keys are its settings."""
    if isinstance(settings, Step):
        return settings
    if not isinstance(settings, Mapping) or "step" not in settings:
        raise ValueError('a step is a table with a key "step" that names it')
    try:
        kind = steps.get(str(settings["step"]))
    except UnknownName as error:
        raise ValueError(str(error)) from error
    return kind(**{key: value for key, value in settings.items() if key != "step"})


AnyStep = Annotated[SerializeAsAny[Step], BeforeValidator(step_from)]


class PreprocessingSection(BaseModel):
    """Which steps prepare an image, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[AnyStep, ...] = ()
