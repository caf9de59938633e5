"""A heat map as a picture that says the same in colour and in grey."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from overread.export.display import Shown, shown
from overread.export.frames import contact_sheet, frame_word
from overread.export.marking import font
from overread.image import Image

_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_GAP_PX = 6


@dataclass(frozen=True)
class Heat:
    """A heat map that was drawn.

    Args:
        panel: the picture, with its scale at the right; of a volume one slice of the map, right of that of the image.
        words: what it says and what its scale is.
        says: what the picture is, in a few words.
    """

    panel: Picture.Image
    words: str
    says: str = "the heat map"


def heat_of(heatmap: NDArray[np.float32], image: Image, *, side_px: int, knows_only: str | None = None) -> Heat | None:
    """Draw a heat map to be looked at beside its image, pixel for pixel; None where it is not of that image's shape.

    The colours ("inferno" of matplotlib) rise evenly in brightness from black on, so that a print in grey shows the
    same order. Of a volume the slice with the brightest place is drawn.

    Args:
        heatmap: `(row, column)` or `(slice, row, column)` in the grid of the image, from 0 on.
        image: as it was read.
        side_px: the longer side, about, as of the image's own picture.
        knows_only: see `Reading`: such a map does not speak for the answer, whatever that is.
    """
    if heatmap.shape != image.shape:
        return None
    highest = float(heatmap.max())
    what = (
        "bright where the answer comes from, black where nothing speaks for it"
        if knows_only is None
        else f"bright where the image differs from what the model takes for {knows_only}, whatever the answer is"
    )
    words = (
        f"Heat map: {what}. The scale is this image's own, from 0 to {highest:.3g}: the brightest place of an "
        "unremarkable image is bright too"
    )
    if heatmap.ndim == 2:
        return Heat(_drawn(heatmap, highest, shown(image), side_px), words)
    brightest, word = int(heatmap.max(axis=(1, 2)).argmax()), frame_word(image)
    beside, _ = contact_sheet(image, side_px=side_px // 2, chosen=[brightest])
    drawn = _drawn(heatmap[brightest], highest, shown(image), side_px // 2)
    both = Picture.new("RGB", (beside.width + _GAP_PX + drawn.width, max(beside.height, drawn.height)), _PAPER)
    both.paste(beside, (0, 0))
    both.paste(drawn, (beside.width + _GAP_PX, 0))
    words += f"; {word} {brightest + 1} of {len(heatmap)} is shown, which has the brightest place of all"
    return Heat(both, words, f"{word} {brightest + 1} and its heat map")


def _drawn(plane: NDArray[np.float32], highest: float, view: Shown, side_px: int) -> Picture.Image:
    """One slice of the map with its scale, in the proportions of the image."""
    from matplotlib import colormaps  # slow to import, and most readings have no heat map

    colours = colormaps["inferno"](plane / highest if highest > 0 else plane, bytes=True)[..., :3]
    panel = replace(view, picture=Picture.fromarray(np.ascontiguousarray(colours))).sized(side_px)
    return _with_scale(panel, highest)


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
