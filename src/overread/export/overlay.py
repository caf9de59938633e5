"""A picture of an image with what the model marks, and the truth beside it, for a doctor's eye."""

from __future__ import annotations

import io
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image as Picture
from PIL import ImageDraw

from overread.evaluation.matching import FOUND_IOU
from overread.export.bearings import draw_bearings
from overread.export.display import in_scale_of, shown
from overread.export.frames import frame_word
from overread.export.heat import heat_of
from overread.export.marking import (
    COLOURS,
    PREDICTED,
    TRUE,
    Ink,
    Sheet,
    colour_names,
    draw_marks,
    draw_truth,
    font,
    missed_marks,
    wrapped,
)
from overread.export.reading import Reading, exporters
from overread.export.slices import slice_pictures
from overread.export.wording import NOT_FOR_DIAGNOSIS, answer_words, score_words, truth_words
from overread.image import Image
from overread.writing import write_whole

PAPER, INK, ALARM = (255, 255, 255), (20, 20, 20), (176, 0, 32)
MANY_MARKS = 20
"""With more, the truth gets a picture of its own: its contours would hide those of the model."""


@dataclass(frozen=True)
class Line:
    """One line below the pictures.

    Args:
        text: what it says.
        kind: "alarm" stands out; "predicted", "class" and "true" come after a sample of the contour that they explain.
        ink: the colour of that contour, where it has one.
    """

    text: str
    kind: Literal["plain", "alarm", "predicted", "class", "true"] = "plain"
    ink: Ink | None = None


@dataclass(frozen=True, eq=False)
class Composition:
    """The pictures of one reading, side by side, what each of them is, and the lines below them."""

    panels: tuple[Picture.Image, ...]
    lines: tuple[Line, ...]
    says: tuple[str, ...] = ("the image", "the image with the marks", "the image with the truth")


def compose(reading: Reading, *, side_px: int) -> Composition:
    """Draw the plain image, the same image with the marks and the heat map, and find the words that belong to them.

    Of a model that restores, the image stands beside what it made of it, all in one grey scale.
    Of a volume or sequence the slices stand on one sheet; where the model scores each of them, that is drawn beside.

    Among many marks the truth stands in a third picture, where it is known, with a frame around what was missed.

    Args:
        reading: what to draw.
        side_px: the longer side of one picture, about; small images are enlarged by a whole factor.
    """
    if reading.image is None:
        return Composition((), tuple(_caption(reading)))
    if reading.prediction.restored is not None:
        return _before_and_after(reading, reading.image, reading.prediction.restored, side_px)
    made = _with_marks(reading, reading.image, side_px)
    if reading.prediction.heatmap is None:
        return made
    heat = heat_of(reading.prediction.heatmap, reading.image, side_px=side_px, knows_only=reading.knows_only)
    if heat is None:
        return made
    return Composition(
        panels=(*made.panels, heat.panel),
        lines=(*made.lines[:-1], Line(heat.words), made.lines[-1]),
        says=(*made.says[: len(made.panels)], heat.says),
    )


def _with_marks(reading: Reading, image: Image, side_px: int) -> Composition:
    """The image without and with marks, and the truth where it needs a picture of its own; a volume in slices."""
    if len(image.shape) == 3:
        panels, how = slice_pictures(reading, image, side_px=side_px)
        word = frame_word(image)
        says = (f"its {word}s", f"the score of each {word}, and the {word}s with the highest")
        return Composition(tuple(panels), tuple(_caption(reading, how=how)), says)
    view = shown(image)
    how = [f"Shown: {view.how}"]
    plain = view.sized(side_px)
    sheet = Sheet(plain, plain.width / view.picture.width, plain.height / view.picture.height)
    draw_bearings(sheet, view)
    marks, truth = reading.marks, reading.true_marks or ()
    if not (marks or truth):
        return Composition((plain,), tuple(_caption(reading, how=how)))
    sheet, beside = (Sheet(plain.copy(), sheet.across, sheet.down, list(sheet.placed)) for _ in range(2))
    if not truth or max(len(marks), len(truth)) <= MANY_MARKS:
        draw_marks(sheet, marks, truth, reading.marked_classes)
        return Composition((plain, sheet.picture), tuple(_caption(reading, how=how, wordless=sheet.wordless)))
    draw_marks(sheet, marks, None, reading.marked_classes)
    missed = missed_marks(marks, truth)
    draw_truth(beside, truth, missed)
    lines = _caption(reading, how=how, wordless=sheet.wordless + beside.wordless, n_missed=len(missed))
    return Composition((plain, sheet.picture, beside.picture), tuple(lines))


def _before_and_after(reading: Reading, image: Image, restored: Image, side_px: int) -> Composition:
    """The image, the same with noise where it was tested with that, and the restored one."""
    made = {"the image": image, "with noise": reading.noisy, "restored": restored}
    there = {name: one for name, one in made.items() if one is not None}
    views = {name: shown(one if one is image else in_scale_of(image, one)) for name, one in there.items()}
    panels = []
    for view in views.values():
        panel = view.sized(side_px)
        draw_bearings(Sheet(panel, panel.width / view.picture.width, panel.height / view.picture.height), view)
        panels.append(panel)
    how = [f"From left to right: {', '.join(views)}", f"Shown: {views['the image'].how}"]
    lines = _caption(reading, how=how)
    return Composition(tuple(panels), tuple(lines), tuple(views))


def draw_overlay(reading: Reading, *, side_px: int = 1024) -> Picture.Image:
    """Draw the plain image and, right of it, the same image with the marks; below, the answer in words.

    What the model marks is a solid contour in the colour of its class, orange where there is one class; the truth is
    a dashed blue one. Both lie on the edges of the pixels.
    Without an image, a card with the reason of the refusal is drawn.

    Args:
        reading: what to draw.
        side_px: the longer side of one of the two pictures, about; small images are enlarged by a whole factor.
    """
    made = compose(reading, side_px=side_px)
    return _page(made.panels, made.lines, side_px)


def write_overlay(reading: Reading, path: Path, *, side_px: int = 1024) -> Path:
    """Write `draw_overlay` as a PNG, whole or not at all."""
    stream = io.BytesIO()
    draw_overlay(reading, side_px=side_px).save(stream, "PNG")
    return write_whole(path, stream.getvalue())


@exporters.add("overlay")
def export_overlays(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Write one PNG an image, for the eye; all of them or none."""
    folder.mkdir(parents=True, exist_ok=True)
    names = file_names([reading.prediction.case_id for reading in readings])
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as parts:
        drawn = [write_overlay(reading, Path(parts) / name) for reading, name in zip(readings, names, strict=True)]
        return [part.replace(folder / part.name) for part in drawn]


def file_names(case_ids: Sequence[str]) -> list[str]:
    """A PNG's name for each case id: fit for every file system, inside its folder, and no two alike.

    >>> file_names(["a/b", "A_b", "../x"])
    ['a_b.png', 'A_b-2.png', '_x.png']
    """
    names: list[str] = []
    taken: set[str] = set()
    for case_id in case_ids:
        stem = re.sub(r"[^\w-]+", "_", case_id)[:80] or "image"
        name, count = f"{stem}.png", 1
        while name.casefold() in taken:
            count += 1
            name = f"{stem}-{count}.png"
        taken.add(name.casefold())
        names.append(name)
    return names


def _caption(
    reading: Reading, *, how: Sequence[str] = (), wordless: Sequence[str] = (), n_missed: int | None = None
) -> list[Line]:
    """The lines below the pictures; `how` says what these show, and is empty where there are none."""
    flat = reading.image is not None and len(reading.image.shape) == 2
    lines = [Line(reading.name)]
    if reading.simulated:
        lines.append(Line("SIMULATED IMAGE - says nothing about patients", "alarm"))
    elif reading.model_simulated:
        lines.append(Line("The model learned from SIMULATED images - its answer says nothing about patients", "alarm"))
    if reading.learned_from:
        lines.append(Line(f"The model learned from this very {reading.unit} - its answer is no test", "alarm"))
    if reading.prediction.refused is not None:
        lines.append(Line(answer_words(reading), "alarm"))
    else:
        lines += _model_lines(reading, drawn=bool(reading.marks) and flat)
    truth = truth_words(reading)
    if truth is not None:
        missed = "" if n_missed is None else f"; framed: {n_missed} missed (IoU below {FOUND_IOU})"
        lines.append(Line(f"Truth: {truth}{missed}", "true" if reading.true_marks and flat else "plain", TRUE))
    if wordless:
        counts = ", ".join(f"{count} {label}" for label, count in Counter(wordless).most_common())
        lines.append(Line(f"Contours without words, for lack of room: {counts}"))
    if how and reading.image is not None and not flat and (reading.marks or reading.true_marks):
        word = frame_word(reading.image)
        lines.append(Line(f"Marks are not drawn: they do not say in which {word} they lie", "alarm"))
    lines += [Line(text) for text in how]
    lines.append(Line(NOT_FOR_DIAGNOSIS))
    return lines


def _model_lines(reading: Reading, *, drawn: bool) -> list[Line]:
    """The answer and, where the model knows several classes, the colours of those that it marks."""
    words, names = _model_words(reading), colour_names(reading.marked_classes)
    if not drawn or len(names) == 1:
        return [Line(words, "predicted" if drawn else "plain", PREDICTED)]
    found = sorted({mark.label for mark in reading.marks})
    colours = {label: names.get(label, "orange") for label in found}
    shared = {name for name, count in Counter(colours.values()).items() if count > 1}
    legend = {label: f"{name}, as other classes" if name in shared else name for label, name in colours.items()}
    return [Line(words), *(Line(f"{label}: {legend[label]}", "class", COLOURS[colours[label]]) for label in colours)]


def _model_words(reading: Reading) -> str:
    """Whose answer it is and what it means: a picture is passed on without the page that it came with."""
    head = "Model" if reading.model is None else f"Model {reading.model}"
    if reading.restores:
        return f"{head}: {answer_words(reading)}"
    if reading.can_mark and reading.threshold is not None:
        head += f" (marks from score {score_words(reading.threshold)} on)"
    words = f"{head}: {answer_words(reading)}"
    return words if reading.marks or not reading.can_mark else f"{words} - that does not mean no disease"


def _page(panels: Sequence[Picture.Image], lines: Sequence[Line], side_px: int) -> Picture.Image:
    """Panels side by side and the lines below them."""
    gap = max(6, side_px // 100)
    width = max(sum(panel.width for panel in panels) + gap * (len(panels) + 1), side_px // 2 + 2 * gap)
    letters = font(max(13, min(28, width // 64)))
    step = int(letters.size * 1.45)
    indent = int(letters.size * 3)
    rows: list[tuple[str, Line, bool]] = []
    for line in lines:
        room = width - 2 * gap - (indent if _has_sample(line) else 0)
        rows += [(text, line, index == 0) for index, text in enumerate(wrapped(line.text, letters, room))]
    top = max((panel.height for panel in panels), default=0) + 2 * gap
    page = Picture.new("RGB", (width, top + step * len(rows) + gap), PAPER)
    left = gap
    for panel in panels:
        page.paste(panel, (left, gap))
        left += panel.width + gap
    draw = ImageDraw.Draw(page)
    for index, (text, line, first) in enumerate(rows):
        y = top + index * step
        if _has_sample(line) and first:
            _sample(draw, line, (gap, y + step // 2), indent - gap)
        draw.text(
            (gap + (indent if _has_sample(line) else 0), y),
            text,
            fill=ALARM if line.kind == "alarm" else INK,
            font=letters,
        )
    return page


def _has_sample(line: Line) -> bool:
    return line.kind in ("predicted", "class", "true")


def _sample(draw: ImageDraw.ImageDraw, line: Line, at: tuple[int, int], length: int) -> None:
    x, y = at
    dash, gap = (7, 5) if line.kind == "true" else (length, 1)
    for start in range(x, x + length, dash + gap):
        end = min(start + dash, x + length)
        draw.rectangle((start, y - 2, end, y + 2), fill=INK)
        draw.rectangle((start + 1, y - 1, end - 1, y + 1), fill=line.ink)
