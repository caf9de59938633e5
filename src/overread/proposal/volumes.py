"""The plan for volumes and clips: one network for all slices, or one that reads them in turn."""

from __future__ import annotations

from overread.data.manifest import Manifest
from overread.errors import InputError
from overread.machine import Machine
from overread.proposal import parts
from overread.proposal.labels import TRAINING
from overread.proposal.lines import Lines
from overread.proposal.look import Look
from overread.proposal.parting import Parted
from overread.proposal.steps import FOR_ANY, steps

LONGEST, LONGEST_ON_A_CARD = 64, 96
"""Voxels a side beyond which a network for volumes takes too long, and too much memory."""

# voxels that one core learned from in a second, and bytes of activations a voxel, with 28 x 28 x 28 px
SPEED, BYTES = {"cnn": 1.0e6, "lstm": 0.5e6}, {"cnn": 1500, "lstm": 1500}


def for_volumes(look: Look, manifest: Manifest, machine: Machine, parted: Parted) -> tuple[str, dict[str, Lines]]:
    """The family, and the sections of a recipe.

    Raises:
        InputError: marks were made in volumes.
    """
    if manifest.marks_lesions:
        raise InputError(f"'{manifest.name}' has marks in volumes; lesions are marked in flat images only.")
    family = "cnn" if len(look.slices) == 1 else "lstm"
    longest = LONGEST_ON_A_CARD if machine.card else LONGEST
    side = min(look.side, longest)
    slices, why_slices = _slices(look, side, longest)
    depth = f", slices = {slices}" if family == "cnn" else ""
    at = f" at {look.spacing}" if look.spacing else ""
    why = f"from {look.size}{at}; a volume has many times the pixels of an image"
    if family == "cnn" and why_slices:
        why += f"; {why_slices}"
    small = not machine.card
    model = [
        ('family = "cnn"', "all volumes have as many slices, so that one network can look at all of them at once"),
        ('backbone = "resnet10"', "small enough to train without a graphics card")
        if small
        else ('backbone = "resnet18"', f"as large as {machine.card} trains in good time"),
        ("width = 0.25", "likewise; on 1,286 volumes as good as twice the width, in a third of the time")
        if small
        else ("width = 1.0", "likewise"),
        ('weights = "none"', "there are none at hand for volumes"),
    ]
    if family == "lstm":
        model = [('family = "lstm"', "volumes have different numbers of slices, which it reads one after the other")]
    return family, {
        "data": parted.lines,
        "preprocessing": steps(
            look, (f'{{ step = "resize", height = {side}, width = {side}{depth} }}', why), why_range=FOR_ANY
        ),
        "augmentation": [('set = "volume"', "patients do not lie alike; no side is taken for the other")],
        "model": model,
        "training": parts.training(
            TRAINING,
            manifest,
            machine,
            parted,
            pixels=side * side * slices,
            pixels_a_second=SPEED[family],
            bytes_a_pixel=BYTES[family],
            unit="case",
            learning_rate=parts.RATE_FROM_SCRATCH,
        ),
    }


def _slices(look: Look, side: int, longest: int) -> tuple[int, str]:
    """How many slices the network sees, and why: voxels as deep as they are wide, where that is known; never more."""
    have = max(look.slices)
    if look.spacing_mm is None:
        return min(have, longest), ""
    column_mm, _, slice_mm = look.spacing_mm
    wide_mm = column_mm * look.side / side
    wanted = max(round(have * slice_mm / wide_mm), 1)
    if wanted >= have or wanted >= longest:
        return min(have, longest), ""
    return wanted, f"of {have} slices {wanted}, so that voxels are as deep as they are wide ({wide_mm:.2g} mm)"
