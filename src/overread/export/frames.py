"""The frames of a volume or clip on one picture, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from overread.errors import InputError
from overread.export.display import shown
from overread.export.marking import font
from overread.image import Image, Pixels

MOST_FRAMES = 30
"""So many are still large enough on a page to be looked at."""

_PAPER, _WORDS, _HALO, _RIM = (255, 255, 255), (255, 255, 255), (0, 0, 0), (96, 96, 96)


def frame_word(image: Image) -> str:
    """What to call a part of a volume or clip: a slice has a place in the patient, a frame may be a moment in time."""
    return "frame" if image.geometry is None else "slice"


def contact_sheet(
    image: Image, *, side_px: int = 1024, most: int = MOST_FRAMES, chosen: Sequence[int] | None = None
) -> tuple[Picture.Image, str]:
    """Lay out the frames of a volume or clip in rows, each with its number, all on one grey scale.

    Of many frames every second is shown, or every third, and so on; the first is always there.

    Args:
        image: `(channel, slice, row, column)`, as it was read.
        side_px: the longer side of the picture, about.
        most: most frames that are shown, at least 1.
        chosen: indices of the frames to show in one row, in place of every k-th and on the grey scale that those have;
            at least one.

    Returns:
        The picture, RGB, and in words which frames it shows and on which grey scale.

    Raises:
        InputError: for a flat image.
    """
    if len(image.shape) != 3:
        raise InputError(f"{image.source.name}: a contact sheet shows the frames of a volume; found a flat image.")
    count, height, width = image.shape
    every = range(0, count, -(-count // most))
    if chosen is None:
        numbers: Sequence[int] = every
        across = min(len(numbers), max(1, round(math.sqrt(1.5 * len(numbers) * height / width))))
    else:
        numbers, across = chosen, len(chosen)
    down = -(-len(numbers) // across)
    factor = max(1, max(across * width, down * height) // side_px)
    beside = () if chosen is None else every  # they take part in the grey scale and are cut off again
    frames = [_smaller(image.pixels[:, number], factor) for number in (*numbers, *beside)]
    # The cells left over repeat the last frame, so that nothing new changes the grey scale; they are painted over.
    frames += [frames[-1]] * (-len(frames) % across)
    sheet = np.concatenate(
        [np.concatenate(frames[start : start + across], axis=2) for start in range(0, len(frames), across)], axis=1
    )
    # As one flat image all frames get the window that a single one would get.
    view = shown(replace(image, pixels=sheet))
    view = replace(view, picture=view.picture.crop((0, 0, view.picture.width, down * frames[0].shape[1])))
    picture = _numbered(view.sized(side_px), [number + 1 for number in numbers], across, down)
    return picture, f"{_which(numbers, count, frame_word(image))}, {view.how}"


def _which(numbers: Sequence[int], count: int, word: str) -> str:
    if len(numbers) == count:
        return f"1 {word}" if count == 1 else f"{count} {word}s"
    first, *others = (str(number + 1) for number in numbers)
    if len(others) > 3:
        others = [others[0], f"{others[1]} ... {others[-1]}"]
    return f"{word}{'s' if others else ''} {', '.join((first, *others))} of {count}"


def _smaller(frame: Pixels, factor: int) -> Pixels:
    """A frame `(channel, row, column)`, averaged over squares of `factor` pixels."""
    if factor == 1:
        return frame
    return np.stack([np.asarray(Picture.fromarray(channel).reduce(factor)) for channel in frame])


def _numbered(picture: Picture.Image, numbers: Sequence[int], across: int, down: int) -> Picture.Image:
    """The picture with a rim and a number on each of its cells, and none on what is left over."""
    draw = ImageDraw.Draw(picture)
    lefts = [round(column * picture.width / across) for column in range(across + 1)]
    tops = [round(row * picture.height / down) for row in range(down + 1)]
    letters = font(max(9, min(22, tops[1] // 9)))
    for cell in range(across * down):
        row, column = divmod(cell, across)
        box = lefts[column], tops[row], lefts[column + 1] - 1, tops[row + 1] - 1
        if cell >= len(numbers):
            draw.rectangle(box, fill=_PAPER)
            continue
        draw.rectangle(box, outline=_RIM)
        place = box[0] + 3, box[1] + 2
        draw.text(place, f"{numbers[cell]}", fill=_WORDS, font=letters, stroke_width=2, stroke_fill=_HALO)
    return picture
