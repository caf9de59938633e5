"""Convolutional networks that say what an image shows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field
from torch import Tensor, nn

from overread.errors import RecipeError
from overread.models.backbones import backbone, freeze
from overread.models.contract import Batch, FamilySettings, Model, Output, Shape, models
from overread.models.losses import losses


@models.add("cnn")
class Cnn(Model):
    """A timm network with one output a class."""

    tasks: ClassVar[tuple[str, ...]] = ("single-label", "multi-label")

    class Settings(FamilySettings):
        """Settings of the family "cnn".

        Args:
            backbone: timm's name of the network.
            weights: "imagenet" (packaged, offline), "none", or the path of a weights file.
            frozen: how many of the first feature levels (stride 2, 4, 8 ...) keep the weights they start with, which
                saves time and may help where images are few; only sensible with weights that were trained before.
            dropout: share of the last features that is left out while training.
            loss: a name of the catalogue of losses; None takes the one that fits the task.
        """

        backbone: str = "tf_efficientnet_lite0"
        weights: str = "imagenet"
        frozen: Annotated[int, Field(ge=0, le=5)] = 0
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
        loss: str | None = None

    def __init__(self, network: nn.Module, *, one_of: bool, loss: str) -> None:
        super().__init__()
        self.network = network
        self._one_of = one_of
        self._loss_name = loss
        self._loss = losses.get(loss)

    @classmethod
    def build(cls, settings: Settings, shape: Shape, *, pretrained: bool = True) -> Self:
        """A fresh network for this shape of data.

        Raises:
            RecipeError: settings that timm, the weights or the task do not fit.
        """
        one_of = shape.task == "single-label"
        if settings.loss == "cross-entropy" and not one_of:
            raise RecipeError(
                "model.loss: 'cross-entropy' is for data where one class applies to an image; here several may. Use "
                "'bce', or leave it out."
            )
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
        return cls(network, one_of=one_of, loss=settings.loss or ("cross-entropy" if one_of else "bce"))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The one loss, by its name."""
        return {self._loss_name: self._loss(self.network(batch.images), batch.labels)}

    def predict(self, images: Tensor) -> Output:
        """Scores that sum to 1 ("single-label") or stand for themselves ("multi-label")."""
        logits = self.network(images).float()
        return Output(scores=logits.softmax(1) if self._one_of else logits.sigmoid())
