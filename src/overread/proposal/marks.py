"""The plan for images in which lesions are marked."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from overread.data.manifest import Case, Manifest
from overread.evaluation.matching import overlaps
from overread.inference.merging import SAME_PLACE
from overread.machine import Machine
from overread.proposal import parts
from overread.proposal.labels import augmentation
from overread.proposal.lines import Lines
from overread.proposal.look import Look
from overread.proposal.parting import Parted
from overread.proposal.steps import FOR_PHOTOGRAPHS, spacing_words, steps

TRAINING = ((50, 60, 2), (200, 40, 4), (1000, 20, 4), (None, 10, 8))

LONGEST, LONGEST_ON_A_CARD = 768, 1024
"""Pixels of the longer side beyond which marking takes too long."""

WANTED_SIDE = 32.0
"""Pixels that the middle lesion should measure; smaller ones have too few features to be told apart."""

CROPS = (256, 384, 512)
MARKS_A_CROP = 5
"""A crop is at least this many times as wide as the middle lesion, so that it shows lesions whole."""

# pixels that one core learned from in a second, and bytes of activations a pixel, with crops of 384 x 384 px
SPEED, BYTES = 0.3e6, 4000


def for_marks(look: Look, manifest: Manifest, machine: Machine, parted: Parted) -> tuple[str, dict[str, Lines]]:
    """The family, and the sections of a recipe."""
    longest = LONGEST_ON_A_CARD if machine.card else LONGEST
    side, why_side = _crop(look, manifest.cases, longest)
    return "mask-rcnn", {
        "data": parted.lines,
        "preprocessing": steps(look, _resize(look, manifest.cases, longest), why_range=FOR_PHOTOGRAPHS),
        "augmentation": [
            (f"crop = {side}", why_side),
            *augmentation(look, turned=manifest.task == "masks"),
        ],
        "model": [
            ('family = "mask-rcnn"', "marks lesions"),
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
        **({"inference": _inference()} if _parts_places(manifest) else {}),
    }


def _side(cases: Sequence[Case]) -> float:
    """The side of the middle mark, in pixels as read (square root of its box's area)."""
    boxes = [mark.region.box for case in cases for mark in case.marks or () if mark.region is not None]
    sides = [((right - left) * (bottom - top)) ** 0.5 for left, top, right, bottom in boxes]
    return median(sides) if sides else WANTED_SIDE


def _factor(cases: Sequence[Case]) -> float:
    return 2.0 if _side(cases) < WANTED_SIDE else 1.0


def _resize(look: Look, cases: Sequence[Case], longest: int) -> tuple[str, str]:
    factor = _factor(cases)
    if look.side > longest:
        why = f"{look.size} would take too long"
    elif factor > 1:
        why = f"marks measure about {_side(cases):.0f} px: enlarged, so that small ones can be told apart"
    else:
        why = f"marks measure about {_side(cases):.0f} px: large enough as they are"
    return f'{{ step = "resize", factor = {factor}, longest = {longest} }}', why + spacing_words(look)


def _crop(look: Look, cases: Sequence[Case], longest: int) -> tuple[int, str]:
    scale = min(_factor(cases), longest / look.side)
    wanted = MARKS_A_CROP * _side(cases) * scale
    side = next((side for side in CROPS if side >= wanted), CROPS[-1])
    return side, "squares of one size train quickly; whole images are read when it is used"


def _inference() -> Lines:
    return [("one_class_a_place = true", "in these data, no lesion is marked as two classes")]


def _parts_places(manifest: Manifest) -> bool:
    """Whether there are marks of several classes, and never of two at one place."""
    if len(manifest.classes) < 2:
        return False
    for case in manifest.cases:
        marks = [(mark.label, mark.region) for mark in case.marks or () if mark.region is not None]
        regions = [region for _, region in marks]
        same = overlaps(regions, regions, "boxes") >= SAME_PLACE
        if any(marks[a][0] != marks[b][0] for a, b in np.argwhere(same)):
            return False
    return True
