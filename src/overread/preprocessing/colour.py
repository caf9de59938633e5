"""Steps that change what the channels of an image mean."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from overread.errors import InputError
from overread.image import Image
from overread.preprocessing.step import Step, history_line, steps

_WEIGHTS = {
    "bt601": np.array([0.299, 0.587, 0.114]),  # ITU-R BT.601-7, 2.5.1: luma
    "mean": np.full(3, 1 / 3),
}


@steps.add("grey")
class Grey(Step):
    """One grey channel from three colours; an image with one channel stays as it is.

    Args:
        weights: "bt601" weighs red, green and blue as the eye does, "mean" weighs them equally; "equal" takes grey
            that is stored as three equal colours, and no true colours.
    """

    makes_channels: ClassVar[int | None] = 1

    weights: Literal["bt601", "mean", "equal"] = "bt601"

    def __call__(self, image: Image) -> Image:
        """The image with one channel.

        Raises:
            InputError: for an image with neither one nor three channels, or with true colours where none are wanted.
        """
        if image.channels == 1:
            return image.with_pixels(image.pixels, by=f"{history_line(self)} (was grey already)")
        _check(image, "grey")
        if self.weights == "equal":
            if (image.pixels != image.pixels[:1]).any():
                raise InputError(
                    f"{image.source.name}: expected a grey image; this is a colour image. Use a model for colours, or "
                    "one trained with the step 'grey', which takes both."
                )
            return image.with_pixels(image.pixels[:1], by=history_line(self))
        grey = np.tensordot(_WEIGHTS[self.weights], image.pixels.astype(np.float64), axes=1)[None]
        # Rounding must not take a grey below the darkest or above the brightest of its three colours.
        grey = np.clip(grey, image.pixels.min(axis=0), image.pixels.max(axis=0))
        return image.with_pixels(grey, by=history_line(self))


@steps.add("colour")
class Colour(Step):
    """Three colours, red, green and blue; of an image with one grey channel all are that channel."""

    makes_channels: ClassVar[int | None] = 3

    def __call__(self, image: Image) -> Image:
        """The image with three channels.

        Raises:
            InputError: for an image with neither one nor three channels.
        """
        _check(image, "colour")
        if image.channels == 3:
            return image.with_pixels(image.pixels, by=f"{history_line(self)} (was in colour already)")
        return image.with_pixels(image.pixels.repeat(3, axis=0), by=history_line(self))


def _check(image: Image, step: str) -> None:
    if image.channels not in (1, 3):
        raise InputError(
            f"{image.source.name}: '{step}' needs one channel or red, green and blue; found {image.channels} "
            "channels. Leave the step out."
        )
