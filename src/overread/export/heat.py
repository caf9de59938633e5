"""A heat map as a picture that says the same in colour and in grey."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from overread.export.display import Shown
from overread.export.marking import font
from overread.image import Image

_INK, _PAPER = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True)
class Heat:
    """A heat map that was drawn.

    Args:
        panel: the picture, with its scale at the right.
        words: what it says and what its scale is.
    """

    panel: Picture.Image
    words: str


def heat_of(heatmap: NDArray[np.float32], image: Image, view: Shown, side_px: int) -> Heat | None:
    """Draw a heat map beside its image, pixel for pixel; None where it is not of that image's shape.

    The colours ("inferno" of matplotlib) rise evenly in brightness from black on, so that a print in grey shows the
    same order.

    Args:
        heatmap: `(row, column)` or `(slice, row, column)` in the grid of the image, from 0 on.
        image: as it was read.
        view: how the image is shown; of a volume the middle slice.
        side_px: the longer side, about, as of the image's own picture.
    """
    from matplotlib import colormaps  # slow to import, and most readings have no heat map

    if heatmap.shape != image.shape:
        return None
    highest = float(heatmap.max())
    words = (
        "Heat map: bright where the answer comes from, black where nothing speaks for it. The scale is this image's "
        f"own, from 0 to {highest:.3g}: the brightest place of an unremarkable image is bright too"
    )
    plane = heatmap
    if heatmap.ndim == 3:
        middle, most = len(heatmap) // 2, int(heatmap.max(axis=(1, 2)).argmax())
        plane = heatmap[middle]
        words += f"; slice {middle + 1} is shown, and slice {most + 1} has the brightest place"
    colours = colormaps["inferno"](plane / highest if highest > 0 else plane, bytes=True)[..., :3]
    panel = replace(view, picture=Picture.fromarray(np.ascontiguousarray(colours))).sized(side_px)
    return Heat(_with_scale(panel, highest), words)


def _with_scale(panel: Picture.Image, highest: float) -> Picture.Image:
    """The picture with a bar of its colours at the right, from 0 at the bottom to the highest value at the top."""
    from matplotlib import colormaps

    letters = font(max(11, min(22, panel.height // 24)))
    top, bottom = f"{highest:.3g}", "0"
    gap = max(4, panel.width // 100)
    bar = max(8, panel.width // 40)
    room = int(max(letters.getlength(words) for words in (top, bottom))) + 2 * gap
    wide = Picture.new("RGB", (panel.width + gap + bar + room, panel.height), _PAPER)
    wide.paste(panel, (0, 0))
    rising = np.linspace(1, 0, panel.height)
    column = colormaps["inferno"](rising, bytes=True)[:, None, :3].repeat(bar, axis=1)
    wide.paste(Picture.fromarray(np.ascontiguousarray(column)), (panel.width + gap, 0))
    draw, left = ImageDraw.Draw(wide), panel.width + 2 * gap + bar
    draw.text((left, 0), top, fill=_INK, font=letters)
    draw.text((left, panel.height - int(1.3 * letters.size)), bottom, fill=_INK, font=letters)
    return wide
