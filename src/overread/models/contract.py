"""The contract of every model family: tensors in, named losses or an output out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from overread.catalogue import Catalogue
from overread.errors import TruthAbsent


@dataclass(frozen=True)
class Truths:
    """The marks of one image of a batch.

    Args:
        boxes: float `(mark, 4)` as (left, top, right, bottom) in pixels of the batch's image; none has zero area.
        classes: int64 `(mark,)`, an index into the classes.
        masks: uint8 `(mark, row, column)`, or None where the data set has boxes only.
    """

    boxes: Tensor
    classes: Tensor
    masks: Tensor | None = None

    def to(self, device: torch.device) -> Truths:
        """The same marks on another device."""
        masks = None if self.masks is None else self.masks.to(device)
        return Truths(self.boxes.to(device), self.classes.to(device), masks)


@dataclass(frozen=True)
class Batch:
    """What a model learns from; asking for truth that is absent raises with its name.

    Args:
        images: float `(case, channel, row, column)`.
        case_ids: who they are.
        targets: `(case,)` int64 class indices ("single-label") or `(case, class)` float in {0, 1} with NaN for not
            known ("multi-label").
        truths: the marks, one entry an image.
    """

    images: Tensor
    case_ids: tuple[str, ...]
    targets: Tensor | None = None
    truths: tuple[Truths, ...] | None = None

    @property
    def labels(self) -> Tensor:
        """The image labels (`targets`)."""
        if self.targets is None:
            raise TruthAbsent("This batch has no 'labels': the data set does not label whole images.")
        return self.targets

    @property
    def marks(self) -> tuple[Truths, ...]:
        """The marks (`truths`)."""
        if self.truths is None:
            raise TruthAbsent("This batch has no 'marks': the data set does not say where lesions are.")
        return self.truths

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; images in the memory order that convolutions are quickest in."""
        return Batch(
            images=self.images.to(device).contiguous(memory_format=torch.channels_last),
            case_ids=self.case_ids,
            targets=None if self.targets is None else self.targets.to(device),
            truths=None if self.truths is None else tuple(truths.to(device) for truths in self.truths),
        )


@dataclass(frozen=True)
class Marks:
    """What a model marks on one image, highest score first.

    Args:
        boxes: float `(mark, 4)` in pixels of the image given to the model.
        scores: float `(mark,)` in [0, 1].
        classes: int64 `(mark,)`.
        masks: float `(mark, m, m)` in [0, 1]: the mask inside its box, stretched to m x m; None without masks.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True)
class Output:
    """What a model says.

    Args:
        scores: float `(case, class)` in [0, 1]; None for a family that only marks.
        marks: one entry an image; None for a family that does not mark.
    """

    scores: Tensor | None = None
    marks: tuple[Marks, ...] | None = None


class Model(nn.Module, ABC):
    """One network behind the one contract; `loss` and `predict` do not depend on each other's mode."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor) -> Output:
        """What the model says about images `(case, channel, row, column)`; call in `eval()` without gradients."""


@dataclass(frozen=True)
class Shape:
    """What a model must fit: said by the data, not by the recipe.

    Args:
        task: as in the manifest.
        classes: how many.
        channels: of the prepared images, 1 or 3.
    """

    task: Literal["single-label", "multi-label", "boxes", "masks"]
    classes: int
    channels: int


class FamilySettings(BaseModel):
    """Base of a family's own settings: the keys of `[model]` beside `family`; unknown ones are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Family(Protocol):
    """How a catalogue entry is used: `family.Settings(**options)`, then `family.build(settings, shape)`."""

    Settings: type[FamilySettings]
    tasks: tuple[str, ...]

    @classmethod
    def build(cls, settings: Any, shape: Shape, *, pretrained: bool = True) -> Model:
        """A fresh model; `pretrained=False` leaves out loading initial weights (they are overwritten anyway)."""
        ...


models: Catalogue[Any] = Catalogue("model family", "overread.models")
