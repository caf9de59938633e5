"""A prepared image beside varied copies of it, as one picture, to be judged by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from overread.export.display import fitted_picture
from overread.export.marking import PREDICTED, Sheet, draw_contour, font, wrapped
from overread.finding import Finding

_PAPER, _INK, _GAP_PX = (255, 255, 255), (20, 20, 20), 6


@dataclass(frozen=True, eq=False)
class Copy:
    """One cell: pixels `(channel, row, column)`, one channel or three, and the marks in their grid."""

    pixels: NDArray[np.float32]
    marks: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """One image, or one slice of a volume: as it was prepared, and its copies behind it.

    Args:
        cells: at least one.
        scale: (darkest, brightest) pixel of the whole prepared image. All cells are shown on it, so that a brighter
            copy looks brighter; what lies beyond is black or white.
    """

    cells: tuple[Copy, ...]
    scale: tuple[float, float]


def copies_sheet(rows: Sequence[Row], title: Sequence[str], *, cell_px: int = 192) -> Picture.Image:
    """Lay out images and their copies in rows, with a title above.

    Args:
        rows: at least one.
        title: lines above; wrapped where they are too long.
        cell_px: the longer side of a cell, about.
    """
    drawn = [[_drawn(cell, row.scale, cell_px) for cell in row.cells] for row in rows]
    widest = max(cell.width for row in drawn for cell in row)
    columns = max(len(row) for row in drawn)
    width = columns * (widest + _GAP_PX) + _GAP_PX
    letters = font(15)
    lines = [line for text in title for line in wrapped(text, letters, width - 2 * _GAP_PX)]
    top = int(len(lines) * letters.size * 1.4) + 2 * _GAP_PX
    heights = [max(cell.height for cell in row) + _GAP_PX for row in drawn]
    page = Picture.new("RGB", (width, top + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((_GAP_PX, _GAP_PX + int(number * letters.size * 1.4)), line, fill=_INK, font=letters)
    for row, height in zip(drawn, heights, strict=True):
        for column, cell in enumerate(row):
            page.paste(cell, (_GAP_PX + column * (widest + _GAP_PX), top))
        top += height
    return page


def _drawn(cell: Copy, scale: tuple[float, float], side_px: int) -> Picture.Image:
    low, high = scale
    scaled = np.clip((cell.pixels - low) / max(high - low, 1e-12), 0, 1)
    colour = np.repeat(scaled[:1], 3, axis=0) if len(scaled) != 3 else scaled
    small = Picture.fromarray((np.moveaxis(colour, 0, 2) * 255 + 0.5).astype(np.uint8))
    picture = fitted_picture(small, side_px)
    sheet = Sheet(picture, picture.width / small.width, picture.height / small.height)
    for mark in cell.marks:
        draw_contour(sheet, mark, PREDICTED, width_px=1)
    return picture
