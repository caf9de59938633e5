"""The contract of every model family: tensors in, named losses or an output out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from overread.catalogue import Catalogue
from overread.errors import TruthAbsent
from overread.models.memory_format import MemoryFormat, laid_out

Axes = Literal[0, 2, 3]
"""What kind of thing a model takes: 2 flat images, 3 volumes and sequences, 0 rows of measurements."""


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
        images: float `(case, channel, row, column)`; of volumes and sequences `(case, channel, slice, row, column)`;
            of tables `(case, measurement, 1, 1)`.
        case_ids: who they are.
        targets: `(case,)` int64 class indices ("single-label") or `(case, class)` float in {0, 1} with NaN for not
            known ("multi-label").
        truths: the marks, one entry an image.
        lengths: `(case,)` int64, how many slices of each case are its own, where sequences of different length were
            filled up to one; None where all slices are.
        weights: how much a case `(case,)` ("single-label") or each of its labels `(case, class)` ("multi-label")
            counts in the loss; None counts all alike.
    """

    images: Tensor
    case_ids: tuple[str, ...]
    targets: Tensor | None = None
    truths: tuple[Truths, ...] | None = None
    lengths: Tensor | None = None
    weights: Tensor | None = None

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

    def to(self, device: torch.device, memory_format: MemoryFormat) -> Batch:
        """The same batch on another device; images in this order in memory."""
        return Batch(
            images=laid_out(self.images.to(device), memory_format),
            case_ids=self.case_ids,
            targets=None if self.targets is None else self.targets.to(device),
            truths=None if self.truths is None else tuple(truths.to(device) for truths in self.truths),
            lengths=None if self.lengths is None else self.lengths.to(device),
            weights=None if self.weights is None else self.weights.to(device),
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
        frame_scores: float `(case, slice, class)` in [0, 1]: what each slice by itself speaks for, where a family
            reads sequences.
        heatmaps: float from 0 on, of the shape of the images without the channel: where the answer comes from or, of a
            family that `knows_only` one class, where an image is unlike it.
        restored: the images as the model gives them back, of the images' own shape.
    """

    scores: Tensor | None = None
    marks: tuple[Marks, ...] | None = None
    frame_scores: Tensor | None = None
    heatmaps: Tensor | None = None
    restored: Tensor | None = None


class Model(nn.Module, ABC):
    """One network behind the one contract; `loss` and `predict` do not depend on each other's mode.

    A family says in `tasks` which truth it learns from, in `axes` which images it takes (see `Shape`), and in
    `takes_sequences` whether the volumes of a batch may have different numbers of slices, and in `balances` whether
    how often a class comes, or counts (`Batch.weights`), changes what is learned.
    """

    tasks: ClassVar[tuple[str, ...]]
    axes: ClassVar[tuple[Axes, ...]] = (2,)
    takes_sequences: ClassVar[bool] = False
    balances: ClassVar[bool] = True

    @classmethod
    def knows_only(cls, settings: Any, task: str) -> str | None:  # noqa: ARG003
        """The one class that it learns from, taking no other into account; None where it learns from all.

        The other class of such a family means no more than "unlike this one": its score is 0.5 for what is as unlike
        as the images that were learned from are on average, and its heat map is bright where an image is unlike them.

        Args:
            settings: of the family.
            task: as in `Shape`.
        """
        return None

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor) -> Output:
        """What the model says about images (see `Batch.images`); call in `eval()` without gradients.

        Sequences that are asked about together have one length.
        """


@dataclass(frozen=True)
class Shape:
    """What a model must fit: said by the data, not by the recipe.

    Args:
        task: as in the manifest.
        classes: their names, in the order of the scores; empty for "reconstruction".
        channels: of the prepared images, 1 or 3; of tables the number of measurements.
        axes: 2 for flat images, 3 for volumes and sequences, 0 for tables of measurements.
    """

    task: Literal["single-label", "multi-label", "boxes", "masks", "reconstruction"]
    classes: tuple[str, ...]
    channels: int
    axes: Axes = 2


class FamilySettings(BaseModel):
    """Base of a family's own settings: the keys of `[model]` beside `family`; unknown ones are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Family(Protocol):
    """How a catalogue entry is used: `family.Settings(**options)`, then `family.build(settings, shape)`."""

    Settings: type[FamilySettings]
    tasks: tuple[str, ...]
    axes: tuple[Axes, ...]
    takes_sequences: bool
    balances: bool

    @classmethod
    def knows_only(cls, settings: Any, task: str) -> str | None:
        """The one class that it learns from (see `Model.knows_only`)."""
        ...

    @classmethod
    def build(cls, settings: Any, shape: Shape, *, pretrained: bool = True) -> Model:
        """A fresh model; `pretrained=False` leaves out loading initial weights (they are overwritten anyway)."""
        ...


@runtime_checkable
class HasLevels(Protocol):
    """A model whose body can be trained before, from images without labels."""

    def levels(self, images: Tensor) -> list[Tensor]:
        """The features of each level, finest first."""
        ...


models: Catalogue[Any] = Catalogue("model family", "overread.models")
