"""Autoencoders: networks that give an image back, and by that take its noise away, or show what is unusual in it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from overread.catalogue import suggestion
from overread.errors import RecipeError
from overread.models.contract import Axes, Batch, FamilySettings, Model, Output, Shape, models
from overread.models.losses import reconstruction_losses

_TYPICAL = 0.05  # share of a batch in the running mean of the errors of normal images


class Reconstructor(nn.Module):
    """Features of several levels back to an image.

    Args:
        channels: of each level, finest first.
        images: channels of the image that is given back.
        axes: 2 or 3.
        skips: whether each finer level is handed over, and not the coarsest alone.
    """

    def __init__(self, channels: list[int], images: int, *, axes: Axes, skips: bool) -> None:
        super().__init__()
        self._skips = skips
        steps = []
        before = channels[-1]
        for own in reversed(channels[:-1]):
            steps.append(_convolutions(before + (own if skips else 0), own, axes=axes))
            before = own
        self.steps = nn.ModuleList(steps)
        self.last = _convolution(before, images, axes=axes)

    def forward(self, levels: list[Tensor], size: torch.Size) -> Tensor:
        """An image of `size` ([slice,] row, column)."""
        image = levels[-1]
        for step, level in zip(self.steps, reversed(levels[:-1]), strict=True):
            image = functional.interpolate(image, size=level.shape[2:])
            image = step(torch.cat([image, level], 1) if self._skips else image)
        if image.shape[2:] != size:
            image = functional.interpolate(image, size=size)
        return torch.as_tensor(self.last(image))


class Encoder(nn.Module):
    """Levels of two convolutions each, the first as fine as the image, each further one half as fine.

    Args:
        images: channels of the image.
        widths: channels of each level.
        axes: 2 or 3.
    """

    def __init__(self, images: int, widths: list[int], *, axes: Axes) -> None:
        super().__init__()
        before, levels = images, []
        for number, width in enumerate(widths):
            levels.append(_convolutions(before, width, axes=axes, stride=1 if number == 0 else 2))
            before = width
        self.levels = nn.ModuleList(levels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The levels, finest first."""
        found = [images]
        for level in self.levels:
            found.append(level(found[-1]))
        return found[1:]


@models.add("autoencoder")
class Autoencoder(Model):
    """Convolutions to a few numbers and back; what it learns depends on what the recipe gives it as truth.

    With `data.truth = "images"` noise is added to clean images and it learns to take it away (Vincent et al., ICML
    2008). With labels of two classes it learns from normal images alone to give them back; what it cannot give back is
    unusual, and the error is the score and the heat map.
    """

    tasks: ClassVar[tuple[str, ...]] = ("single-label", "reconstruction")
    axes: ClassVar[tuple[Axes, ...]] = (2, 3)
    balances: ClassVar[bool] = False

    class Settings(FamilySettings):
        """Settings of the family "autoencoder".

        Args:
            width: channels of the first level; each further one has twice as many.
            depth: levels, each half as fine as the one before.
            bottleneck: channels of the last level, through which everything must go; None takes the usual width.
            skips: whether finer levels are handed over too; None does for denoising, where details count, and not for
                what is unusual, which then would be handed over like all else.
            noise: (low, high): noise is added to each training image with a standard deviation drawn between them, as
                a share of the image's own range; None takes (0.02, 0.2) for denoising, else none.
            loss: "l1", "l2" or "huber".
            normal: the class that is normal, for labels.
        """

        width: Annotated[int, Field(ge=4, le=256)] = 32
        depth: Annotated[int, Field(ge=2, le=7)] = 3
        bottleneck: Annotated[int, Field(ge=1, le=4096)] | None = None
        skips: bool | None = None
        noise: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
        loss: str = "l2"
        normal: str = "normal"

    typical: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Reconstructor,
        *,
        loss: str,
        noise: tuple[float, float],
        residual: bool,
        normal: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self._loss_name = loss
        self._loss = reconstruction_losses.get(loss)
        self._noise = noise
        self._residual = residual
        self._normal = normal
        # of what is normal; errors are judged by it
        self.register_buffer("typical", torch.zeros(()))

    @classmethod
    def knows_only(cls, settings: Settings, task: str) -> str | None:
        """The normal class: what else there is in the data, the network never learned."""
        return None if task == "reconstruction" else settings.normal

    @classmethod
    def build(cls, settings: Settings, shape: Shape, *, pretrained: bool = True) -> Self:  # noqa: ARG003
        """A fresh network for this shape of data.

        Raises:
            RecipeError: labels of other than two classes, no class that is normal, or noise whose limits are swapped.
        """
        denoises = shape.task == "reconstruction"
        skips = denoises if settings.skips is None else settings.skips
        noise = settings.noise or ((0.02, 0.2) if denoises else (0.0, 0.0))
        if noise[0] > noise[1]:
            raise RecipeError(f"model.noise: the lower share comes first; found {list(noise)}.")
        widths = [settings.width * 2**level for level in range(settings.depth)]
        widths[-1] = settings.bottleneck or widths[-1]
        return cls(
            Encoder(shape.channels, widths, axes=shape.axes),
            Reconstructor(widths, shape.channels, axes=shape.axes, skips=skips),
            loss=settings.loss,
            noise=noise,
            residual=skips,
            normal=None if denoises else _normal(settings.normal, shape),
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The error of what is given back; of labelled images, of the normal ones alone."""
        images = batch.images
        if self._normal is not None:
            images = images[batch.labels == self._normal]
        if not len(images):  # nothing to learn from here; every weight gets a gradient all the same
            return {self._loss_name: torch.stack([weight.sum() for weight in self.parameters()]).sum() * 0.0}
        noisy, (mean, std) = self._with_noise(images), _moments(images)
        given = self._given_back(noisy)
        if self._normal is not None and self.training:
            with torch.no_grad():
                error = _errors((given - images) / std).flatten(1).mean()
                share = torch.where(self.typical > 0, _TYPICAL, 1.0)
                self.typical.lerp_(error.to(self.typical.dtype), share)
        return {self._loss_name: self._loss((given - mean) / std, (images - mean) / std)}

    def predict(self, images: Tensor) -> Output:
        """The images given back; with labels also how unusual each is, as a score and as a map."""
        given = self._given_back(images).float()
        if self._normal is None:
            return Output(restored=given)
        error = _errors((given - images) / _moments(images)[1])
        whole = error.flatten(1).mean(1)
        unusual = whole / (whole + self.typical.clamp(min=1e-12))  # one half for what is typical of normal images
        scores = torch.stack([1 - unusual, unusual], 1)
        return Output(scores=scores if self._normal == 0 else scores.flip(1), heatmaps=error)

    def _with_noise(self, images: Tensor) -> Tensor:
        low, high = self._noise
        if not high:
            return images
        flat = images.flatten(1)
        each = (len(images), *[1] * (images.ndim - 1))
        share = low + (high - low) * torch.rand(each, device=images.device)
        return images + torch.randn_like(images) * share * (flat.amax(1) - flat.amin(1)).reshape(each)

    def _given_back(self, images: Tensor) -> Tensor:
        """In the images' own units: what the network sees has mean 0 and deviation 1, whatever the scale."""
        mean, std = _moments(images)
        seen = (images - mean) / std
        given = self.decoder(self.encoder(seen), seen.shape[2:])
        # with all details at hand it is simpler to say what is noise than to say the image again (Zhang et al., IEEE
        # TIP 2017)
        restored: Tensor = (seen - given if self._residual else given) * std + mean
        return restored


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each image over all but its first axis; a constant image has deviation 1."""
    axes = list(range(1, images.ndim))
    std = images.std(axes, correction=0, keepdim=True)
    return images.mean(axes, keepdim=True), torch.where(std > 1e-8, std, 1.0)


def _errors(difference: Tensor) -> Tensor:
    """The squared error of each pixel, `(case, [slice,] row, column)`."""
    return difference.float().square().mean(1)


def _normal(name: str, shape: Shape) -> int:
    if len(shape.classes) != 2:
        raise RecipeError(
            f"model.family: 'autoencoder' tells what is normal from what is not; found {len(shape.classes)} classes "
            f"({', '.join(shape.classes)}). Use 'cnn', or join the classes that are not normal."
        )
    if name not in shape.classes:
        raise RecipeError(f"model.normal: no class is called '{name}'. {suggestion(name, shape.classes)}")
    return shape.classes.index(name)


def _convolution(before: int, after: int, *, axes: Axes, stride: int = 1) -> nn.Module:
    kind = nn.Conv2d if axes == 2 else nn.Conv3d
    return kind(before, after, 3, stride=stride, padding=1)


def _convolutions(before: int, after: int, *, axes: Axes, stride: int = 1) -> nn.Module:
    def norm() -> nn.Module:
        return nn.GroupNorm(min(8, after) if after % min(8, after) == 0 else 1, after)

    first, second = _convolution(before, after, axes=axes, stride=stride), _convolution(after, after, axes=axes)
    return nn.Sequential(first, norm(), nn.ReLU(), second, norm(), nn.ReLU())
