"""The plan for rows of measurements."""

from __future__ import annotations

from overread.data.manifest import Manifest
from overread.machine import Machine
from overread.proposal import parts
from overread.proposal.lines import Lines
from overread.proposal.parting import Parted

TRAINING = ((100, 60, 8), (1000, 30, 32), (10_000, 20, 64), (None, 10, 256))


def for_rows(manifest: Manifest, machine: Machine, parted: Parted) -> tuple[str, dict[str, Lines]]:
    """The family, and the sections of a recipe."""
    return "mlp", {
        "data": parted.lines,
        "preprocessing": [
            ("steps = [", ""),
            (
                "    # measurements differ in units and size; learned anew from the training part of each fold\n"
                '    { step = "z-score", scope = "training" },',
                "",
            ),
            ("]", ""),
        ],
        "model": [
            ('family = "mlp"', "a network that takes rows of measurements"),
            ("hidden = [32]", "one small layer: a larger network learns a small table by heart"),
        ],
        "training": parts.training(
            TRAINING,
            manifest,
            machine,
            parted,
            pixels=len(manifest.measurements),
            pixels_a_second=30_000,
            bytes_a_pixel=1000,
            unit="row",
            learning_rate=("learning_rate = 0.005", "a small network takes large steps"),
        ),
    }
