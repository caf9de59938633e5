"""The `[model]` section of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class ModelSection(BaseModel):
    """Which family, and that family's own settings.

    Only the family's name is known here, so that a recipe can be looked at without importing torch; the other
    keys are checked by the family's `Settings` before training starts.

    Args:
        family: a name of the catalogue of model families.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    family: str = "cnn"

    @property
    def options(self) -> dict[str, Any]:
        """The family's own settings, as written."""
        return dict(self.model_extra or {})
