"""A volume or sequence as pictures: its slices on one sheet, and which of them speak for the answer."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image as Picture
from PIL import ImageDraw

from overread.export.display import OPPOSITE
from overread.export.frames import contact_sheet, frame_word
from overread.export.marking import font
from overread.export.reading import Reading
from overread.export.wording import score_words
from overread.image import Image

HIGHEST = 3
"""So many slices are pictured again and named, those that speak for the answer most."""

ALIKE = 0.02
"""Where scores differ by less, none of them is pointed out."""

_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (190, 190, 190)

FrameScores = Sequence[float | None]


def slice_pictures(reading: Reading, image: Image, *, side_px: int) -> tuple[list[Picture.Image], list[str]]:
    """The sheet of all slices and, where the model scores each of them, the curve with the highest ones below it.

    Args:
        reading: whose answer is explained.
        image: the reading's own, a volume.
        side_px: the longer side of a picture, about.

    Returns:
        The pictures, RGB, and lines that say what they show.
    """
    sheet, how = contact_sheet(image, side_px=side_px)
    lines = [f"Shown: {how}", *_bearings(image)]
    name = explained_class(reading)
    scores = () if name is None else reading.prediction.frame_scores.get(name, ())
    if name is None or len(scores) != image.shape[0] or len(scores) < 2:
        return [sheet], lines
    word, highest = frame_word(image), highest_of(scores)
    lines.insert(0, _explained(name, scores, highest, word))
    curve = draw_curve(scores, name, highest, word=word, width_px=side_px)
    if not highest:
        return [sheet, curve], lines
    chosen, _ = contact_sheet(image, side_px=side_px, chosen=highest)
    both = Picture.new("RGB", (max(curve.width, chosen.width), curve.height + chosen.height), _PAPER)
    both.paste(curve, (0, 0))
    both.paste(chosen, (0, curve.height))
    return [sheet, both], lines


def explained_class(reading: Reading) -> str | None:
    """The class whose scores of slices explain the answer: the answer itself, else the one with the highest score."""
    scores = reading.prediction.scores
    return reading.predicted_class or max(scores, key=lambda name: scores[name], default=None)


def highest_of(scores: FrameScores) -> list[int]:
    """The indices of the slices with the highest scores, rising; none where all of them score alike.

    >>> highest_of([0.1, 0.9, None, 0.8, 0.2, 0.7])
    [1, 3, 5]
    >>> highest_of([0.501, 0.502, 0.5])
    []
    """
    known = {index: score for index, score in enumerate(scores) if score is not None}
    if not known or max(known.values()) - min(known.values()) < ALIKE:
        return []
    return sorted(sorted(known, key=lambda index: -known[index])[:HIGHEST])


def draw_curve(scores: FrameScores, name: str, highest: Sequence[int], *, word: str, width_px: int) -> Picture.Image:
    """The score of each slice against its number; the highest ones have a line to their number, so no colour is needed.

    Args:
        scores: of each slice, in [0, 1]; None where there is none.
        name: the class that they speak for.
        highest: indices of the slices to point out.
        word: "slice" or "frame".
        width_px: of the picture.
    """
    letters = font(max(11, min(20, width_px // 40)))
    line, pad = int(letters.size * 1.4), 6
    left, top = int(letters.getlength("0.5")) + 3 * pad, 2 * line + 2 * pad
    right, bottom = width_px - 3 * pad, top + max(60, width_px // 4)
    picture = Picture.new("RGB", (width_px, bottom + 2 * line + pad), _PAPER)
    draw = ImageDraw.Draw(picture)
    title = f"Score of each {word} for {name}"
    while letters.getlength(title) > width_px - 2 * pad:
        title = f"{title.removesuffix('...')[:-1]}..."
    draw.text((pad, pad), title, fill=_INK, font=letters)

    def at(index: int, score: float) -> tuple[float, float]:
        return left + index / max(1, len(scores) - 1) * (right - left), bottom - score * (bottom - top)

    for tick in (0.0, 0.5, 1.0):
        height = at(0, tick)[1]
        draw.line((left, height, right, height), fill=_FAINT)
        words = f"{tick:g}"
        draw.text((left - pad - letters.getlength(words), height - letters.size / 2), words, fill=_INK, font=letters)
    for index in sorted({0, len(scores) // 2, len(scores) - 1}):
        words, (across, _) = f"{index + 1}", at(index, 0)
        draw.line((across, bottom, across, bottom + 4), fill=_INK)
        start = min(across - letters.getlength(words) / 2, width_px - letters.getlength(words) - pad)
        draw.text((start, bottom + pad), words, fill=_INK, font=letters)
    draw.text(((left + right) / 2 - letters.getlength(word) / 2, bottom + line), word, fill=_INK, font=letters)
    limit: float = width_px - pad  # numbers keep off each other, from the last to the first
    for index in reversed(highest):
        across, height = at(index, scores[index] or 0.0)
        draw.line((across, top, across, height), fill=_INK)
        words = f"{index + 1}"
        start = min(across - letters.getlength(words) / 2, limit - letters.getlength(words))
        draw.text((start, top - line), words, fill=_INK, font=letters)
        limit = start - pad
    for run in _runs(scores):
        points = [at(index, score) for index, score in run]
        draw.line(points if len(points) > 1 else points * 2, fill=_INK, width=3)
    for index in highest:
        across, height = at(index, scores[index] or 0.0)
        draw.ellipse((across - 4, height - 4, across + 4, height + 4), fill=_PAPER, outline=_INK, width=2)
    return picture


def _runs(scores: FrameScores) -> list[list[tuple[int, float]]]:
    """The stretches of slices that have a score."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, score in enumerate(scores):
        if score is None:
            runs.append([])
        else:
            runs[-1].append((index, score))
    return [run for run in runs if run]


def _explained(name: str, scores: FrameScores, highest: Sequence[int], word: str) -> str:
    known = [score for score in scores if score is not None]
    unseen = len(scores) - len(known)
    rest = f"; {unseen} {word}s were cut away and not seen" if unseen else ""
    if not highest:
        alike = f" (about {score_words(max(known))})" if known else ""
        return f"All {word}s score alike for {name}{alike}{rest}"
    by_score = sorted(highest, key=lambda index: -(scores[index] or 0.0))
    named = ", ".join(f"{index + 1} ({score_words(scores[index] or 0.0)})" for index in by_score)
    return f"Highest scores for {name}: {word} {named}{rest}. How good scores of single {word}s are was not measured"


def _bearings(image: Image) -> list[str]:
    """Sides and distances, as far as the file says them."""
    said = []
    if image.sides is not None:
        left, top = (OPPOSITE[side] for side in image.sides)
        said.append(f"the left edge is the patient's {left}, the top edge {top}")
    if image.geometry is not None:
        column_mm, row_mm, slice_mm = image.geometry.spacing_mm
        said.append(f"pixels are {column_mm:.3g} x {row_mm:.3g} mm, slices {slice_mm:.3g} mm apart")
    return [f"In each {frame_word(image)} {'; '.join(said)}"] if said else []
