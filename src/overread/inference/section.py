"""The `[inference]` section of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class InferenceSection(BaseModel):
    """How a trained model is asked, while it is measured and ever after.

    Args:
        mirrored: show the model every image and its mirror image, and average what it says; for labels only.
            Sensible where `augmentation.flip` is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirrored: bool = False
