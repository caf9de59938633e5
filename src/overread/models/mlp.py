"""Multilayer perceptrons on the pixels of an image, or on a row of measurements."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Self

from pydantic import Field
from torch import Tensor, nn

from overread.models.contract import Axes, Batch, Model, Output, Shape, models
from overread.models.labelling import Labelling, LabelSettings


@models.add("mlp")
class Mlp(Model):
    """Layers that look at all pixels, or all measurements, at once."""

    tasks: ClassVar[tuple[str, ...]] = ("single-label", "multi-label")
    axes: ClassVar[tuple[Axes, ...]] = (2, 3, 0)

    class Settings(LabelSettings):
        """Settings of the family "mlp".

        Args:
            side: cells of the grid along each axis over which pixels are averaged first, so that images of any size
                give as many numbers; volumes have a third axis of cells, tables no grid.
            hidden: how many features each hidden layer has.
            dropout: share of the features of each hidden layer that is left out while training.
        """

        side: Annotated[int, Field(ge=1, le=256)] = 28
        hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(max_length=16)] = (256, 128)
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3

    def __init__(self, network: nn.Module, labelling: Labelling) -> None:
        super().__init__()
        self.network = network
        self._labelling = labelling

    @classmethod
    def build(cls, settings: Settings, shape: Shape, *, pretrained: bool = True) -> Self:  # noqa: ARG003
        """A fresh network for this shape of data.

        Raises:
            RecipeError: a loss that does not fit the task.
        """
        labelling = Labelling(settings, shape)
        grid: list[nn.Module] = []
        features = shape.channels
        if shape.axes:
            grid = [(nn.AdaptiveAvgPool2d if shape.axes == 2 else nn.AdaptiveAvgPool3d)(settings.side)]
            features *= settings.side**shape.axes
        layers: list[nn.Module] = []
        for before, after in pairwise((features, *settings.hidden)):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(settings.dropout)]
        last = nn.Linear((features, *settings.hidden)[-1], len(shape.classes))
        return cls(nn.Sequential(*grid, nn.Flatten(), *layers, last), labelling)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The one loss, by its name."""
        return self._labelling.loss(self.network(batch.images), batch)

    def predict(self, images: Tensor) -> Output:
        """Scores that sum to 1 ("single-label") or stand for themselves ("multi-label")."""
        return Output(scores=self._labelling.scores(self.network(images)))
