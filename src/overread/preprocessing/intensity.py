"""Steps that change what the numbers of an image mean, and leave every pixel where it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from overread.errors import InputError
from overread.image import Image
from overread.preprocessing.step import Intensity, Step, history_line, steps

Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(gt=0)]


# for a person who reads with a trained model, and for one who writes a recipe: the step cannot know who asks
_NEEDED = {
    "HU": "CT in Hounsfield units is needed, as DICOM gives them",
    "stored": "an image whose numbers have no unit is needed, such as a picture",
    "normalised": "an image is needed that an earlier step has normalised",
}
_FOUND = {
    "HU": "this file's numbers are Hounsfield units",
    "stored": "this file's numbers have no unit",
    "normalised": "this one's numbers were normalised by an earlier step",
}


@steps.add("window")
class Window(Step):
    """Show a range of intensities from black to white, as a radiologist does, and cut off what lies beyond.

    `(x - centre) / width + 1/2`, cut to [0, 1] (LINEAR_EXACT, DICOM PS3.3 C.11.2.1.3.2).

    Args:
        centre: middle of the range, in `units`.
        width: of the range, in `units`. Without centre and width the window that the file itself asks for is used.
        units: in which the centre and width are meant. An image in other units is refused: a lung window applied
            to numbers that are no Hounsfield units gives a picture that looks right and is not.
    """

    centre: Intensity | None = None
    width: Annotated[float, Field(ge=1e-9, le=1e12)] | None = None
    units: Literal["HU", "stored", "normalised"] = "HU"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.centre is None) != (self.width is None):
            raise ValueError("a window has a centre and a width; give both, or none to use the file's own")
        return self

    def __call__(self, image: Image) -> Image:
        """The image in [0, 1], units "normalised".

        Raises:
            InputError: for an image in other units, or without a window of its own where none is given.
        """
        centre, width = self._range(image)
        by = history_line(self) if self.centre is not None else f"window centre={centre} width={width} (the file's)"
        shown = np.clip((image.pixels.astype(np.float64) - centre) / width + 0.5, 0, 1)
        return image.with_pixels(shown, by=by, units="normalised")

    def _range(self, image: Image) -> tuple[float, float]:
        if self.centre is None or self.width is None:
            if image.window is None:
                raise InputError(
                    f"{image.source.name}: the window in which the file asks to be shown is needed (in DICOM: Window "
                    "Center, Window Width); found none. Use a file that has one, or train with a centre and a "
                    "width in the step 'window'."
                )
            return image.window
        if image.units != self.units:
            found = _FOUND.get(image.units, f"this one's are in units '{image.units}'")
            raise InputError(
                f"{image.source.name}: {_NEEDED[self.units]}; {found}. Use such a file, or train with "
                f'units = "{image.units}" if the window {self.centre:g} / {self.width:g} suits these numbers.'
            )
        return self.centre, self.width


@steps.add("percentile-clip")
class PercentileClip(Step):
    """Cut off the darkest and brightest pixels of each image, so that a few of them do not set its range.

    Args:
        low: percentile of all the image's pixels, in [0, 100]; what is darker is raised to it.
        high: percentile; what is brighter is lowered to it.
    """

    low: Percent = 1.0
    high: Percent = 99.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"the low percentile must be below the high one; found {self.low} and {self.high}")
        return self

    def __call__(self, image: Image) -> Image:
        """The image between its two percentiles, in the same units."""
        low, high = np.percentile(image.pixels, (self.low, self.high))
        return image.with_pixels(np.clip(image.pixels, low, high), by=history_line(self))


@steps.add("min-max")
class MinMax(Step):
    """Stretch each image so that its darkest pixel is `low` and its brightest `high`; a constant image becomes `low`.

    All channels are stretched alike, so that colours keep their relation.
    """

    low: Intensity = 0.0
    high: Intensity = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high; found {self.low} and {self.high}")
        return self

    def __call__(self, image: Image) -> Image:
        """The image in [low, high], units "normalised"."""
        pixels = image.pixels.astype(np.float64)
        low, high = pixels.min(), pixels.max()
        share = (pixels - low) / (high - low) if high > low else np.zeros_like(pixels)
        stretched = np.clip(self.low + share * (self.high - self.low), self.low, self.high)
        return image.with_pixels(stretched, by=history_line(self), units="normalised")


@steps.add("z-score")
class ZScore(Step):
    """Take the mean away and divide by the standard deviation.

    Args:
        scope: "image": each image by its own mean and deviation over all channels; a constant image becomes 0.
            "training": all images by those of the training images, one number a channel, which are learned by
            `fit` and never from an image that is tested.
        mean: one number a channel, for "training"; None until fitted. Give both to use known ones.
        std: likewise.
    """

    scope: Literal["image", "training"] = "image"
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _matched(self) -> Self:
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise ValueError("mean and std are given together, one number a channel each")
        if self.mean is not None and self.scope == "image":
            raise ValueError('mean and std belong to scope = "training"; scope = "image" takes each image\'s own')
        return self

    @property
    def learns(self) -> bool:
        """Whether the mean and deviation of the training images are still to be learned."""
        return self.scope == "training" and self.mean is None

    @property
    def takes_rows(self) -> bool:
        """Whether each channel is scaled by its own numbers."""
        return self.scope == "training"

    def fit(self, images: Iterable[Image]) -> Self:
        """The step with the mean and deviation of all pixels of these images, channel by channel.

        Raises:
            InputError: where there is no image, their numbers of channels differ, or a channel is constant.
        """
        if not self.learns:
            return self
        mean, std = _moments(images)
        return type(self)(scope="training", mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def __call__(self, image: Image) -> Image:
        """The image with mean 0 and deviation 1 (of itself, or of the training images), units "normalised".

        Raises:
            InputError: where the step was not fitted, or was fitted to another number of channels.
        """
        pixels = image.pixels.astype(np.float64)
        if self.scope == "image":
            std = pixels.std()
            scaled = (pixels - pixels.mean()) / std if pixels.max() > pixels.min() else np.zeros_like(pixels)
            return image.with_pixels(scaled, by=history_line(self), units="normalised")
        if self.mean is None or self.std is None:
            raise InputError(
                'The step "z-score" with scope = "training" needs the mean and deviation of the training images; found '
                "none. Fit it to the training images first."
            )
        if len(self.mean) != image.channels:
            raise InputError(
                f"{image.source.name}: 'z-score' was fitted to {len(self.mean)} channels; found {image.channels}. "
                "Bring all images to the same channels first, with the step 'grey' or 'colour'."
            )
        axes = (-1,) + (1,) * (pixels.ndim - 1)
        scaled = (pixels - np.reshape(self.mean, axes)) / np.reshape(self.std, axes)
        return image.with_pixels(scaled, by=history_line(self), units="normalised")


def _moments(images: Iterable[Image]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel over all images.

    Images are joined by the update of Chan, Golub and LeVeque (1979), which stays exact where a sum of squares
    would cancel.
    """
    count, mean, spread = 0, np.zeros(0), np.zeros(0)
    for image in images:
        values = image.pixels.reshape(image.channels, -1).astype(np.float64)
        if count == 0:
            mean, spread = np.zeros(image.channels), np.zeros(image.channels)
        if len(mean) != image.channels:
            raise InputError(
                f"{image.source.name}: 'z-score' learns from images with equal channels; found {image.channels} here "
                f"and {len(mean)} before. Bring all images to the same channels first, with 'grey' or 'colour'."
            )
        n = values.shape[1]
        step = values.mean(axis=1) - mean
        spread = spread + values.var(axis=1) * n + step**2 * count * n / (count + n)
        mean = mean + step * n / (count + n)
        count += n
    if count == 0:
        raise InputError("'z-score' learns its mean and deviation from training images; found no image.")
    if not (spread > 0).all():
        constant = ", ".join(str(channel + 1) for channel in np.flatnonzero(~(spread > 0))[:5])
        raise InputError(
            f"'z-score' divides by the deviation of the training images; of {len(spread)} channels (or measurements), "
            f"these are constant, counted from 1: {constant}. Leave them out."
        )
    return mean, np.sqrt(spread / count)
