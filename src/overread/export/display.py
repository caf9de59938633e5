"""Pixels as a doctor expects to see them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from overread.image import Image

SOFT_TISSUE_HU = (40.0, 400.0)
"""(centre, width) of the window for CT whose file asks for none."""

OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}

Grey = NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """An image ready to be shown.

    Args:
        picture: RGB, as many pixels as the image has in its plane.
        how: the grey scale (and, for a volume, the slice) in words.
        tall: height of a pixel divided by its width; 1 where the file does not say.
        left: the side of the patient at the left edge (L, R, A, P, H or F); None where the file does not say.
        top: likewise at the top edge.
        column_mm: distance of two columns in the patient; None where the file does not say.
    """

    picture: Picture.Image
    how: str
    tall: float = 1.0
    left: str | None = None
    top: str | None = None
    column_mm: float | None = None

    def sized(self, side_px: int) -> Picture.Image:
        """The picture with a longer side of about `side_px`.

        It is made larger by a whole factor and without smoothing, so that pixels are seen as they are, and made
        smaller by averaging. Pixels that are not square are stretched to their true proportions.
        """
        return fitted_picture(self.picture, side_px, tall=self.tall)


def fitted_picture(picture: Picture.Image, side_px: int, *, tall: float = 1.0) -> Picture.Image:
    """A picture with a longer side of about `side_px`, as `Shown.sized` says."""
    wide, high = picture.width * max(1.0, 1 / tall), picture.height * max(1.0, tall)
    factor = side_px / max(wide, high)
    if factor > 1:
        factor = max(1, math.floor(factor + 0.5))
    size = max(1, round(wide * factor)), max(1, round(high * factor))
    return picture.resize(size, Picture.Resampling.NEAREST if factor >= 1 else Picture.Resampling.BOX)


def shown(image: Image) -> Shown:
    """Choose the grey scale: the file's own window, 40/400 HU for CT, else the 1-99 % range; colour stays as it is.

    Three equal channels are grey and shown so: microscopes and screenshots store dark grey pictures as RGB.

    Args:
        image: as it was read. Of a volume the middle slice is shown, and said so.
    """
    pixels, where = image.pixels, ""
    if pixels.ndim == 4:
        middle = pixels.shape[1] // 2
        where = f"slice {middle + 1} of {pixels.shape[1]}, "
        pixels = pixels[:, middle]
    tall, column_mm = 1.0, None
    if image.geometry is not None:
        column_mm, row_mm, _ = image.geometry.spacing_mm
        tall = row_mm / column_mm if 0.05 < row_mm / column_mm < 20 else 1.0
    three = pixels.shape[0] == 3 and image.units == "stored"
    grey_as_colour = three and bool((pixels == pixels[:1]).all())
    if three and not grey_as_colour:
        white = 255.0 if pixels.max() <= 255 else 65535.0
        colour = np.clip(pixels / white, 0, 1)
        how = "colour as stored"
    else:
        grey, how = _grey(image, pixels[0])
        how = _with_inversion(image, how)
        if grey_as_colour:
            how = f"grey stored as colour, {how}"
        elif image.channels > 1:
            how = f"channel 1 of {image.channels}, {how}"
        colour = np.stack([grey] * 3)
    eight_bit = (np.moveaxis(colour, 0, 2) * 255 + 0.5).astype(np.uint8)
    # Columns count to the right: the left edge is the side that they come from.
    left, top = (None, None) if image.sides is None else (OPPOSITE[image.sides[0]], OPPOSITE[image.sides[1]])
    return Shown(Picture.fromarray(eight_bit), where + how, tall, left, top, column_mm)


def in_scale_of(image: Image, other: Image) -> Image:
    """Another version of an image, to be shown in the grey scale of the image itself, so that the two can be compared.

    Where their numbers mean different things, the other one is shown in a scale of its own.
    """
    if other.units != image.units or other.channels != image.channels:
        return other
    low, high = image.pixels.min(), image.pixels.max()
    window = image.window
    if window is None and image.units != "HU":
        first, last = np.percentile(image.pixels[0], (1, 99))  # the range in which `shown` shows the image itself
        first, last = (first, last) if last > first else (low, high)
        window = (float(first + last) / 2 + 0.5, float(last - first) + 1)  # PS3.3 C.11.2.1.2.1, solved for its ends
    return replace(other, pixels=np.clip(other.pixels, low, high), window=window)


def _with_inversion(image: Image, how: str) -> str:
    """The reader's words on MONOCHROME1 (PS3.3 C.7.6.3.1.2), which name the file's own window where it has one."""
    line = next((line for line in image.history if line.startswith("MONOCHROME1")), None)
    if line is None:
        return how
    return line if "; window " in line else f"{how}; {line}"


def _grey(image: Image, pixels: Grey) -> tuple[Grey, str]:
    window, unit = image.window, " HU" if image.units == "HU" else ""
    if window is None and image.units == "HU":
        window = SOFT_TISSUE_HU
    if window is not None:
        centre, width = window
        # PS3.3 C.11.2.1.2.1: the linear VOI LUT function.
        scaled = (pixels - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
        return np.clip(scaled, 0, 1), f"window {centre:g}/{width:g}{unit}"
    low, high = np.percentile(pixels, (1, 99))
    how = "grey values from the 1st to the 99th percentile"
    if high <= low:
        low, high = pixels.min(), pixels.max()
        how = "grey values from the lowest to the highest"
    if high <= low:
        return np.full_like(pixels, 0.5), "all pixels are equal"
    return np.clip((pixels - low) / (high - low), 0, 1), how
