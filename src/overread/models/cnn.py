"""Convolutional networks that say what an image shows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field
from torch import Tensor, nn

from overread.models.backbones import backbone, freeze
from overread.models.contract import Batch, Model, Output, Shape, models
from overread.models.labelling import Labelling, LabelSettings


@models.add("cnn")
class Cnn(Model):
    """A timm network with one output a class."""

    tasks: ClassVar[tuple[str, ...]] = ("single-label", "multi-label")

    class Settings(LabelSettings):
        """Settings of the family "cnn".

        Args:
            backbone: timm's name of the network.
            weights: "imagenet" (packaged, offline), "none", or the path of a weights file.
            frozen: how many of the first feature levels (stride 2, 4, 8 ...) keep the weights they start with, which
                saves time and may help where images are few; only sensible with weights that were trained before.
            dropout: share of the last features that is left out while training.
            loss, label_smoothing, focal_gamma: as in `LabelSettings`.
        """

        backbone: str = "tf_efficientnet_lite0"
        weights: str = "imagenet"
        frozen: Annotated[int, Field(ge=0, le=5)] = 0
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2

    def __init__(self, network: nn.Module, labelling: Labelling) -> None:
        super().__init__()
        self.network = network
        self._labelling = labelling

    @classmethod
    def build(cls, settings: Settings, shape: Shape, *, pretrained: bool = True) -> Self:
        """A fresh network for this shape of data.

        Raises:
            RecipeError: settings that timm, the weights or the task do not fit.
        """
        labelling = Labelling(settings, shape)
        network: Any = backbone(
            settings.backbone,
            weights=settings.weights,
            channels=shape.channels,
            pretrained=pretrained,
            num_classes=len(shape.classes),
            drop_rate=settings.dropout,
        )
        freeze(network, settings.frozen)
        # timm starts the classifier of some networks so wide that the first answers are certain and wrong
        classifier = network.get_classifier()
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)
        return cls(network, labelling)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The one loss, by its name."""
        return self._labelling.loss(self.network(batch.images), batch)

    def predict(self, images: Tensor) -> Output:
        """Scores that sum to 1 ("single-label") or stand for themselves ("multi-label")."""
        return Output(scores=self._labelling.scores(self.network(images)))
