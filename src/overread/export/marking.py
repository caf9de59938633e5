"""Contours and labels drawn on an image, on the edges of its pixels."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from overread.evaluation.matching import FOUND_IOU
from overread.export.contour import region_outlines
from overread.export.overlap import best_iou, region_of
from overread.export.wording import drawn_box, score_words
from overread.finding import Box, Finding, Region

Ink = tuple[int, int, int]

# Okabe and Ito, Color Universal Design (2008): told apart with every kind of colour vision. Sky blue is the truth's.
PREDICTED, TRUE, HALO = (230, 159, 0), (86, 180, 233), (0, 0, 0)
COLOURS: dict[str, Ink] = {
    "orange": PREDICTED,
    "green": (0, 158, 115),
    "yellow": (240, 228, 66),
    "vermilion": (213, 94, 0),
    "purple": (204, 121, 167),
}
FEW_LABELS, MOST_LABELS = 8, 30
SMALL_PX = 12
"""No line is wider than its part of a contour's box, and below it a line has no rim: it would hide what it encloses."""
MOST_HIDDEN = 0.1
"""Where there is no free place near a mark, its words may hide so much of another mark's box."""


@dataclass(frozen=True)
class Sheet:
    """A picture to draw on.

    Args:
        picture: RGB; it is changed.
        across: pixels of the picture for one column of the image.
        down: pixels of the picture for one row of the image.
        placed: the words so far, (left, top, right, bottom) in pixels of the picture.
        leaders: likewise the pieces of the lines that join words with marks.
        wordless: the labels of the marks for whose words there was no room.
    """

    picture: Picture.Image
    across: float
    down: float
    placed: list[Box] = field(default_factory=list)
    leaders: list[Box] = field(default_factory=list)
    wordless: list[str] = field(default_factory=list)

    @property
    def letters(self) -> ImageFont.FreeTypeFont:
        """The font of its labels, in a size that fits the picture."""
        return font(max(13, min(26, max(self.picture.size) // 45)))

    def scaled(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """(column, row) of edges in the image, to pixel edges of the picture."""
        return np.rint(points * (self.across, self.down)).astype(np.int64)


@lru_cache(maxsize=16)
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows Latin, Greek and Cyrillic letters."""
    package = find_spec("matplotlib")  # found, not imported: that takes longer than to draw
    assert package is not None
    assert package.origin is not None
    return ImageFont.truetype(str(Path(package.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"), size_px)


def wrapped(text: str, letters: ImageFont.FreeTypeFont, room_px: float) -> list[str]:
    """The text in lines that fit; a word that is too long alone is broken."""
    lines, line = [], ""
    for word in " ".join(text.split()).split(" "):
        rest = f"{line} {word}" if line else word
        if letters.getlength(rest) <= room_px:
            line = rest
            continue
        if line:
            lines.append(line)
        line = word
        while letters.getlength(line) > room_px and len(line) > 1:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or letters.getlength(line[:n]) <= room_px)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line]


def _silent(marks: Sequence[Finding]) -> list[str]:
    """The commonest classes, until few enough marks are left to be named."""
    silent, left = [], len(marks)
    for label, count in Counter(mark.label for mark in marks).most_common():
        if left <= MOST_LABELS:
            break
        silent.append(label)
        left -= count
    return silent


def colour_names(classes: Sequence[str]) -> dict[str, str]:
    """Class -> a name of `COLOURS`. With more classes than colours some share one, and words tell them apart."""
    return dict(zip(classes, itertools.cycle(COLOURS)))


def missed_marks(marks: Sequence[Finding], truth: Sequence[Finding]) -> list[Finding]:
    """The true marks that no mark of their class lies on with an overlap of `FOUND_IOU`."""
    return [mark for mark in truth if (best_iou(mark, marks) or 0) < FOUND_IOU]


def draw_marks(
    sheet: Sheet, marks: Sequence[Finding], truth: Sequence[Finding] | None, classes: Sequence[str] = ()
) -> None:
    """Draw what the model marks (solid) and the truth (dashed), then the words, beside the marks.

    A true mark gets words only where it is missed. Words without room are left out and kept in `sheet.wordless`;
    where all marks are of one class and there are many, the score alone is written.

    Args:
        sheet: its picture is drawn on.
        marks: in pixels of the original grid.
        truth: likewise; None where it is not known or drawn elsewhere.
        classes: in the order of their colours; a mark of another class is orange.
    """
    truth = truth or ()
    width = _width(sheet, len(marks), len(truth))
    inks = {label: COLOURS[name] for label, name in colour_names(classes).items()}
    for mark in marks:
        draw_contour(sheet, mark, inks.get(mark.label, PREDICTED), width_px=width)
    for mark in truth:
        draw_contour(sheet, mark, TRUE, width_px=width, dash_px=max(4, 4 * width))
    silent, alike = _silent(marks), len({mark.label for mark in (*marks, *truth)}) == 1
    boxes = [_scaled_box(sheet, mark) for mark in (*marks, *truth)]
    for mark in missed_marks(marks, truth):
        _label(sheet, "truth" if alike else f"truth: {mark.label}", mark, TRUE, boxes)
    for mark in marks:
        score = "" if mark.score is None else score_words(mark.score)
        words = score if score and alike and len(marks) > FEW_LABELS else f"{mark.label} {score}"
        if mark.label in silent or not _label(sheet, words, mark, inks.get(mark.label, PREDICTED), boxes):
            sheet.wordless.append(mark.label)


def draw_truth(sheet: Sheet, truth: Sequence[Finding], missed: Sequence[Finding]) -> None:
    """Draw the truth alone (dashed), the missed ones in a frame and, where there are several classes, with words.

    A frame leaves to be seen what was missed, however small it is; a thicker contour would cover it.

    Args:
        sheet: its picture is drawn on.
        truth: in pixels of the original grid.
        missed: those of them that the model did not find.
    """
    width = _width(sheet, len(truth))
    for mark in truth:
        draw_contour(sheet, mark, TRUE, width_px=width, dash_px=max(4, 4 * width))
    for mark in missed:
        left, top, right, bottom = drawn_box(region_of(mark))
        across, down = 3 * (width + 1) / sheet.across, 3 * (width + 1) / sheet.down
        frame = Finding(mark.label, Region((left - across, top - down, right + across, bottom + down)))
        draw_contour(sheet, frame, TRUE, width_px=width)
    if len({mark.label for mark in truth}) > 1 and len(missed) <= MOST_LABELS:
        boxes = [_scaled_box(sheet, mark) for mark in truth]
        sheet.wordless.extend(mark.label for mark in missed if not _label(sheet, mark.label, mark, TRUE, boxes))


def _width(sheet: Sheet, *counts: int) -> int:
    """Of a line, in pixels of the picture: thin where there are many."""
    side = max(sheet.picture.size)
    return max(1, side // 400) if max(counts) > MOST_LABELS else max(2, side // 280)


def draw_contour(sheet: Sheet, mark: Finding, ink: Ink, *, width_px: int, dash_px: int | None = None) -> None:
    """Draw a mark's contour, centred on the edges between its pixels and the others, with a thin dark rim.

    A small one gets a thinner line, and one smaller than `SMALL_PX` a line of one pixel without a rim.

    Args:
        sheet: its picture is drawn on.
        mark: in pixels of the original grid.
        ink: the colour.
        width_px: of the line, in pixels of the picture.
        dash_px: length of a dash and of a gap; None draws through.
    """
    left, top, right, bottom = _scaled_box(sheet, mark)
    side = min(right - left, bottom - top)
    small = side < SMALL_PX
    width_px = max(1, min(width_px, int(side // SMALL_PX)))
    draw = ImageDraw.Draw(sheet.picture)
    for outline in region_outlines(region_of(mark)):
        strokes = list(_strokes(sheet.scaled(outline), dash_px))
        for rim, colour in ((0, ink),) if small else ((1, HALO), (0, ink)):
            for start, end in strokes:
                draw.rectangle(_stroke_box(start, end, width_px, rim, sheet.picture.size), fill=colour)


Point = tuple[int, int]


def _strokes(corners: NDArray[np.int64], dash_px: int | None) -> Iterator[tuple[Point, Point]]:
    """The pieces of a closed way along the axes that are drawn."""
    ways = list(zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True))
    length = sum(abs(x1 - x0) + abs(y1 - y0) for (x0, y0), (x1, y1) in ways)
    dash = length + 1 if dash_px is None else max(2, min(dash_px, length // 8))
    gone = 0
    for (x0, y0), (x1, y1) in ways:
        long = abs(x1 - x0) + abs(y1 - y0)
        right, down = int(np.sign(x1 - x0)), int(np.sign(y1 - y0))
        at = 0
        while at < long:
            phase = (gone + at) % (2 * dash)
            to = min(long, at + dash - phase % dash)
            if phase < dash:
                yield (x0 + right * at, y0 + down * at), (x0 + right * to, y0 + down * to)
            at = to
        gone += long


def _stroke_box(start: Point, end: Point, width_px: int, rim_px: int, size: Point) -> Box:
    """The pixels of a stroke, first and last ones included; a stroke on the border is moved inside the picture."""
    ends = []
    for a, b, most in zip(start, end, size, strict=True):
        half = width_px // 2
        low = min(max(min(a, b) - half, 0), most - width_px)
        high = min(max(max(a, b) - half, 0), most - width_px) + width_px - 1
        ends.append((low - rim_px, high + rim_px))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def _scaled_box(sheet: Sheet, mark: Finding) -> Box:
    left, top, right, bottom = drawn_box(region_of(mark))
    return left * sheet.across, top * sheet.down, right * sheet.across, bottom * sheet.down


def _label(sheet: Sheet, words: str, beside: Finding, ink: Ink, marks: Sequence[Box]) -> bool:
    """Write words beside a mark, on no words and no mark; False, and nothing written, where there is no such place.

    In a crowd words may hide a little of a mark near their own one, never much of a small one. Words that stand
    farther off are joined with their mark by a line.
    """
    pad, letters = 3, sheet.letters
    wide, high = letters.getlength(words) + 2 * pad, sum(letters.getmetrics()) + 2.0 * pad - 2
    around = _scaled_box(sheet, beside)

    def hides(place: Box) -> float:
        if any(_shared(place, other) for other in (*sheet.placed, *sheet.leaders)):
            return 1.0
        return max(_shared(place, mark) / max(1.0, _area(mark)) for mark in marks)

    def is_free(place: Box) -> bool:
        others = [*sheet.placed, *sheet.leaders, *(mark for mark in marks if not _shared(mark, around))]
        return hides(place) == 0 and not any(_shared(piece, box) for piece in _leader(place, around) for box in others)

    near, far = (_places(around, wide, high, sheet.picture.size, gaps) for gaps in ((4.0,), (high, 2 * high)))
    best = next((place for place in near if hides(place) == 0), None) or next(filter(is_free, far), None)
    if best is None:
        best = min(near, key=hides)
        if hides(best) > MOST_HIDDEN:
            return False
    sheet.placed.append(best)
    draw = ImageDraw.Draw(sheet.picture)
    if best in far:
        sheet.leaders.extend(_leader(best, around))
        ends = _nearest(best, around)
        draw.line(ends, fill=HALO, width=3)
        draw.line(ends, fill=ink, width=1)
    draw.rectangle(best, fill=HALO)
    draw.text((best[0] + pad, best[1] + pad - 1), words, fill=ink, font=letters)
    return True


def _places(around: Box, wide: float, high: float, size: Point, gaps: Sequence[float]) -> list[Box]:
    """Where words beside a mark may stand, the best place first; all of them inside the picture."""
    left, top, right, bottom = around
    across, middle = (left + right - wide) / 2, (top + bottom - high) / 2
    corners = []
    for gap in gaps:
        below, above, east, west = bottom + gap, top - high - gap, right + gap, left - wide - gap
        corners += [(east, middle), (west, middle), (across, above), (across, below)]
        corners += [(left, above), (left, below), (right - wide, above), (right - wide, below)]
        corners += [(east, top), (west, top), (east, bottom - high), (west, bottom - high)]
        if gap >= high:  # joined by a line; nearer by, nobody could tell whose words they are
            corners += [(east, above), (west, above), (east, below), (west, below)]
    inside = [
        (min(max(x, 0.0), max(0.0, size[0] - wide)), min(max(y, 0.0), max(0.0, size[1] - high))) for x, y in corners
    ]
    return [(x, y, x + wide, y + high) for x, y in inside]


def _nearest(a: Box, b: Box) -> list[tuple[float, float]]:
    """The ends of the shortest line between two boxes that lie apart."""
    ends = [(_between(a[axis], a[axis + 2], b[axis], b[axis + 2])) for axis in (0, 1)]
    return [(ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])]


def _leader(words: Box, mark: Box) -> list[Box]:
    """The line between words and their mark as small boxes."""
    (x0, y0), (x1, y1) = _nearest(words, mark)
    points = np.linspace((x0, y0), (x1, y1), 2 + int(max(abs(x1 - x0), abs(y1 - y0)) // 4)).tolist()
    return [(x - 2, y - 2, x + 2, y + 2) for x, y in points]


def _between(low: float, high: float, other_low: float, other_high: float) -> tuple[float, float]:
    if high < other_low:
        return high, other_low
    if other_high < low:
        return low, other_high
    middle = (max(low, other_low) + min(high, other_high)) / 2
    return middle, middle


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
