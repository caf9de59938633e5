"""What every family that says what an image shows shares: its loss, and its logits as scores."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Annotated

from pydantic import Field
from torch import Tensor

from overread.errors import RecipeError
from overread.models.contract import Batch, FamilySettings, Shape
from overread.models.losses import losses


class LabelSettings(FamilySettings):
    """Base of the settings of a family that learns from labels.

    Args:
        loss: a name of the catalogue of losses; None takes the one that fits the task.
        label_smoothing: share of the truth that is spread over all classes, for "cross-entropy" (Szegedy et al., CVPR
            2016): answers become less certain.
        focal_gamma: how much less an image counts that is answered well, for "focal"; None takes 2.
    """

    loss: str | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    focal_gamma: Annotated[float, Field(ge=0, le=10)] | None = None


class Labelling:
    """Logits `(case, class)` as the named loss of a batch, and as scores.

    Args:
        settings: of the family.
        shape: of the data.

    Raises:
        UnknownName: a loss that no catalogue has.
        RecipeError: a loss that does not fit the task, or a setting that the loss does not have.
    """

    def __init__(self, settings: LabelSettings, shape: Shape) -> None:
        self._one_of = shape.task == "single-label"
        self._name = settings.loss or ("cross-entropy" if self._one_of else "bce")
        if self._name == "cross-entropy" and not self._one_of:
            raise RecipeError(
                "model.loss: 'cross-entropy' is for data where one class applies to an image; here several may. Use "
                "'bce', or leave it out."
            )
        options = settings.model_dump(include=set(LabelSettings.model_fields) - {"loss"}, exclude_none=True)
        self._loss = partial(losses.get(self._name), **options)
        for key in options:
            able = [name for name in losses if key in inspect.signature(losses.get(name)).parameters]
            if self._name not in able:
                raise RecipeError(
                    f"model.{key}: only the loss {' or '.join(able)} has this setting; here the loss is "
                    f"'{self._name}'. Leave it out, or set model.loss where the other loss fits the data."
                )

    def loss(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The one loss, by its name."""
        return {self._name: self._loss(logits, batch.labels, batch.weights)}

    def scores(self, logits: Tensor) -> Tensor:
        """Scores in [0, 1] that sum to 1 ("single-label") or stand for themselves ("multi-label")."""
        logits = logits.float()
        return logits.softmax(1) if self._one_of else logits.sigmoid()
