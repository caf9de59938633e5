"""Where the patient's sides are in a picture, and how long a millimetre is."""

from __future__ import annotations

import math

from PIL import ImageDraw

from overread.export.display import Shown
from overread.export.marking import HALO, Sheet

WHITE = (255, 255, 255)


def draw_bearings(sheet: Sheet, view: Shown) -> None:
    """Write the letters of the patient's sides at the left and the top edge, and a scale bar at the lower right.

    What the file does not say is left out. Words that come later keep off.

    Args:
        sheet: its picture is drawn on.
        view: what the picture shows.
    """
    width, height = sheet.picture.size
    letters = sheet.letters
    line, pad = letters.size, 4
    if view.left is not None:
        _write(sheet, view.left, pad, (height - line) / 2)
    if view.top is not None:
        _write(sheet, view.top, (width - letters.getlength(view.top)) / 2, pad)
    if view.column_mm is None:
        return
    bar_mm = round_length(view.column_mm / sheet.across * width / 5)
    bar, words = bar_mm / view.column_mm * sheet.across, f"{bar_mm:g} mm"
    right, bottom = width - 2 * pad, height - 2 * pad
    across = max(bar, letters.getlength(words))
    if across > width / 2 or 3 * line > height:
        return
    draw = ImageDraw.Draw(sheet.picture)
    left = round(right - bar)
    draw.rectangle((left - 1, bottom - 3, right + 1, bottom + 1), fill=HALO)
    draw.rectangle((left, bottom - 2, right, bottom), fill=WHITE)
    _write(sheet, words, right - across, bottom - 6 - 1.2 * line)
    sheet.placed.append((left, bottom - 3, right, bottom + 1))


def round_length(most_mm: float) -> float:
    """The longest of 1, 2, 5, 10, 20, 50 ... mm, or of their tenths and so on, that is not longer.

    >>> round_length(76.8), round_length(0.3), round_length(5), round_length(math.nextafter(100, 0))
    (50.0, 0.2, 5.0, 50.0)
    """
    power = 10.0 ** math.floor(math.log10(most_mm))  # the logarithm of a number just below 100 is 2
    return float(f"{max(step for step in (0.5, 1, 2, 5) if step * power <= most_mm) * power:g}")


def _write(sheet: Sheet, words: str, left: float, top: float) -> None:
    draw = ImageDraw.Draw(sheet.picture)
    draw.text((left, top), words, fill=WHITE, font=sheet.letters, stroke_width=2, stroke_fill=HALO)
    sheet.placed.append(draw.textbbox((left, top), words, font=sheet.letters, stroke_width=2))
