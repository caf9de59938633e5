"""Convolutional networks that say what an image, or a volume, shows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import Field
from torch import Tensor, nn

from overread.errors import RecipeError
from overread.models.backbones import backbone, freeze, told_size
from overread.models.contract import Axes, Batch, Model, Output, Shape, models
from overread.models.labelling import Labelling, LabelSettings
from overread.models.volumetric import RESIDUAL, levels_of, volumetric


@models.add("cnn")
class Cnn(Model):
    """A network with one output a class: from timm for flat images, from MONAI for volumes."""

    tasks: ClassVar[tuple[str, ...]] = ("single-label", "multi-label")
    axes: ClassVar[tuple[Axes, ...]] = (2, 3)

    class Settings(LabelSettings):
        """Settings of the family "cnn".

        Args:
            backbone: timm's name of the network; for volumes "resnet10", "resnet18" or "resnet34".
            weights: "imagenet" (packaged, offline), "none", or the path of a weights file; for volumes "none".
            frozen: how many of the first feature levels (stride 2, 4, 8 ...) keep the weights they start with, which
                saves time and may help where images are few; only sensible with weights that were trained before,
                and for flat images only.
            width: share of the usual channels of each level, for volumes only.
            dropout: share of the last features that is left out while training.
        """

        backbone: str = "tf_efficientnet_lite0"
        weights: str = "imagenet"
        frozen: Annotated[int, Field(ge=0, le=5)] = 0
        width: Annotated[float, Field(ge=0.05, le=2)] = 1.0
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2

    def __init__(self, network: nn.Module, labelling: Labelling, axes: Axes) -> None:
        super().__init__()
        self.network = network
        self._labelling = labelling
        self._axes = axes

    @classmethod
    def build(cls, settings: Settings, shape: Shape, *, pretrained: bool = True) -> Self:
        """A fresh network for this shape of data.

        Raises:
            RecipeError: settings that timm, the weights, the images or the task do not fit.
        """
        labelling = Labelling(settings, shape)
        network = _volumetric(settings, shape) if shape.axes == 3 else _flat(settings, shape, pretrained=pretrained)
        return cls(network, labelling, shape.axes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The one loss, by its name."""
        return self._labelling.loss(self._logits(batch.images), batch)

    def predict(self, images: Tensor) -> Output:
        """Scores that sum to 1 ("single-label") or stand for themselves ("multi-label")."""
        return Output(scores=self._labelling.scores(self._logits(images)))

    def _logits(self, images: Tensor) -> Tensor:
        with told_size(self.network, images):
            return cast("Tensor", self.network(images))

    def levels(self, images: Tensor) -> list[Tensor]:
        """The features of each level, finest first."""
        if self._axes == 3:
            return levels_of(self.network, images)
        with told_size(self.network, images):
            found: list[Tensor] = cast("Any", self.network).forward_intermediates(images, intermediates_only=True)
        return found


def _flat(settings: Cnn.Settings, shape: Shape, *, pretrained: bool) -> nn.Module:
    if settings.width != 1:
        raise RecipeError("model.width: it is for volumes; these are flat images. Leave it out.")
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
    for layer in _classifiers(network, settings.backbone, len(shape.classes)):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return cast("nn.Module", network)


def _classifiers(network: Any, name: str, classes: int) -> list[nn.Linear | nn.Conv2d]:
    """The layers that give one number a class; several where a network is asked from more than one place."""
    found = network.get_classifier() if hasattr(network, "get_classifier") else ()
    layers = [layer for part in (found if isinstance(found, tuple) else (found,)) for layer in part.modules()]
    last = [one for one in layers if isinstance(one, nn.Linear | nn.Conv2d) and len(one.weight) == classes]
    if not last:
        raise RecipeError(
            f"model.backbone: timm's network '{name}' has no layer that could name classes. Choose another, such as "
            "resnet18."
        )
    return last


def _volumetric(settings: Cnn.Settings, shape: Shape) -> nn.Module:
    if settings.frozen or settings.weights != "none" or settings.backbone not in RESIDUAL:
        raise RecipeError(
            f"model.backbone: these are volumes; '{settings.backbone}' with weights = \"{settings.weights}\" and "
            f"frozen = {settings.frozen} is for flat images. Choose {' or '.join(RESIDUAL)} with weights = 'none' and "
            "frozen = 0."
        )
    network: Any = volumetric(
        settings.backbone,
        channels=shape.channels,
        classes=len(shape.classes),
        width=settings.width,
    )
    network.fc = nn.Sequential(nn.Dropout(settings.dropout), network.fc)
    return cast("nn.Module", network)
