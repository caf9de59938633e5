"""The plan for flat images, and sequences of them, that are classified as a whole."""

from __future__ import annotations

from overread.data.manifest import Manifest
from overread.machine import Machine
from overread.proposal import parts
from overread.proposal.lines import Lines
from overread.proposal.look import Look
from overread.proposal.parting import Parted
from overread.proposal.steps import FOR_ANY, FOR_PHOTOGRAPHS, spacing_words, steps

# (up to this many pixels on the longer side, side to bring images to)
SIDES = ((32, 112), (64, 128), (128, 160), (None, 224))
LARGEST_ON_A_CARD = 320

TRAINING = ((100, 40, 8), (400, 30, 16), (2000, 20, 32), (10_000, 10, 32), (None, 5, 64))

# pixels that one core learned from in a second, and bytes of activations a pixel, with images of 128 x 128 px
SPEED, BYTES = 0.5e6, 4000

LONGEST_FRAME = 64
"""Pixels a side of the frames of a sequence, of which there are many."""


def for_labels(look: Look, manifest: Manifest, machine: Machine, parted: Parted) -> tuple[str, dict[str, Lines]]:
    """The family, and the sections of a recipe."""
    side = next(to for up_to, to in SIDES if up_to is None or look.side <= up_to)
    if machine.card and look.side >= LARGEST_ON_A_CARD:
        side = LARGEST_ON_A_CARD
    way = "enlarged: the network halves its picture five times" if side > look.side else "as large as it takes to see"
    why = f"from {look.size}; {way}{spacing_words(look)}"
    return "cnn", {
        "data": parted.lines,
        "preprocessing": steps(
            look, (f'{{ step = "resize", height = {side}, width = {side} }}', why), why_range=FOR_PHOTOGRAPHS
        ),
        "augmentation": augmentation(look, turned=True),
        "model": [
            ('family = "cnn"', "classifies whole images"),
            *parts.PRETRAINED,
        ],
        "training": parts.training(
            TRAINING,
            manifest,
            machine,
            parted,
            pixels=side * side,
            pixels_a_second=SPEED,
            bytes_a_pixel=BYTES,
            unit="image",
            learning_rate=parts.RATE_PRETRAINED,
        ),
    }


def for_sequences(look: Look, manifest: Manifest, machine: Machine, parted: Parted) -> tuple[str, dict[str, Lines]]:
    """The family, and the sections of a recipe, where a case has several images."""
    side = min(look.side, LONGEST_FRAME)
    frames = max(len(case.images) for case in manifest.cases)
    way = "smaller, as there are many" if side < look.side else "as large as they are"
    return "lstm", {
        "data": parted.lines,
        "preprocessing": steps(
            look,
            (
                f'{{ step = "resize", height = {side}, width = {side} }}',
                f"from {look.size}; {way}{spacing_words(look)}",
            ),
            why_range=FOR_ANY,
        ),
        "augmentation": augmentation(look, turned=True),
        "model": [('family = "lstm"', "reads the images of a case in their order")],
        "training": parts.training(
            TRAINING,
            manifest,
            machine,
            parted,
            pixels=side * side * frames,
            pixels_a_second=SPEED,
            bytes_a_pixel=BYTES,
            unit="case",
            learning_rate=parts.RATE_FROM_SCRATCH,
        ),
    }


def augmentation(look: Look, *, turned: bool) -> Lines:
    """How training images are varied.

    Args:
        look: at the images.
        turned: whether they may be turned; a box that is turned no longer fits its lesion.
    """
    if not look.is_grey:
        why = "colour, so probably a microscope or a lens, which has no up and down"
        return [('set = "microscopy"', why)]
    lines = [
        ('set = "radiograph"', "grey: patients do not always lie straight, and machines differ"),
        ("flip = true", "set it to false if left and right mean something in these images"),
    ]
    return lines if turned else [*lines, ("rotation_degrees = 0.0", "a box that is turned no longer fits its lesion")]
