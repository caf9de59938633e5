"""What the plans for all kinds of data have in common: how long is learned, and in what portions."""

from __future__ import annotations

from collections.abc import Sequence

from overread.data.manifest import Manifest
from overread.errors import InputError
from overread.machine import Machine
from overread.proposal.lines import Lines, in_comment
from overread.proposal.parting import Parted

PRETRAINED: Lines = [
    ('backbone = "tf_efficientnet_lite0"', "small enough to train without a graphics card"),
    ('weights = "imagenet"', "a network that has seen photographs needs fewer medical images"),
]
RATE_PRETRAINED = "learning_rate = 0.0005", "lower than from scratch: the weights have learned something already"
RATE_FROM_SCRATCH = "learning_rate = 0.001", "from scratch: nothing was learned before"

Table = Sequence[tuple[int | None, int, int]]
"""(up to this many cases, epochs, cases a step); the last row goes for all others."""

RARE = 0.1
"""Share of the cases below which a class is seldom in a batch, and a network may do well without ever naming it."""

LONGEST_H = 6.0
"""Hours that a training should take at most: somebody who starts it in the evening has it in the morning."""

A_CARD_IS = 50
"""How many cores a graphics card is taken for. A careful guess; the preflight measures what it really is."""

MEMORY_SHARE = 0.5
"""Of the memory that the activations of one batch may fill; weights, images and other programs need theirs."""


def _balance(manifest: Manifest) -> tuple[str, str]:
    """What is done about classes that are unequally common."""
    name, share = _rarest_share(manifest)
    what = f"{in_comment(name)} is in {share:.1%} of the {manifest.unit}s"
    if share < RARE:
        return 'balance = "sampling"', f"{what}, too few to be learned in passing: shown as often as the others"
    return 'balance = "none"', f"{what}, the rarest class: common enough, and scores then follow how common it is"


def training(
    table: Table,
    manifest: Manifest,
    machine: Machine,
    parted: Parted,
    *,
    pixels: int,
    pixels_a_second: float,
    bytes_a_pixel: float,
    unit: str,
    learning_rate: tuple[str, str],
) -> Lines:
    """How it is learned: how long, and how many cases a step, as far as the machine allows.

    Args:
        table: what would be right for so many cases.
        manifest: the data set.
        machine: what it is trained on.
        parted: how often, and whether something is there to choose the epoch by.
        pixels: of one case, as the network sees it.
        pixels_a_second: that one core learns from.
        bytes_a_pixel: of the activations of one case.
        unit: what one case is called, such as "image".
        learning_rate: the line that sets it, and why.
    """
    count = len(manifest.cases)
    epochs, batch = next((epochs, batch) for up_to, epochs, batch in table if up_to is None or count <= up_to)
    cores = A_CARD_IS if machine.card else machine.cores
    hours_an_epoch = count * parted.trainings * pixels / (pixels_a_second * cores) / 3600
    possible = max(int(LONGEST_H / hours_an_epoch), 1)
    why = f"enough for {count} {unit}s"
    if possible < epochs:
        why = f"{epochs} would be right for {count} {unit}s, and take over {LONGEST_H:.0f} h on {machine}"
    fits = batch
    while fits > 1 and machine.memory_bytes and fits * pixels * bytes_a_pixel > MEMORY_SHARE * machine.memory_bytes:
        fits //= 2
    room = f"{batch} would be right, and not fit into the memory of {machine}"
    kept = [] if parted.section.validation else [('keep = "last"', "there is no validation part to choose by")]
    return [
        (f"epochs = {min(epochs, possible)}", why),
        (f"batch_size = {fits}", room if fits < batch else _portion(batch, count, unit)),
        learning_rate,
        _balance(manifest),
        *kept,
    ]


def _portion(batch: int, count: int, unit: str) -> str:
    steps = -(-count // batch)
    return f"about {steps} steps an epoch for {count} {unit}s"


def _rarest_share(manifest: Manifest) -> tuple[str, float]:
    """The class that the fewest cases show, and in which share of them; those that none shows apart."""
    shown = [
        {mark.label for mark in case.truth_marks}
        if manifest.marks_lesions
        else {name for name, present in case.labels.items() if present}
        for case in manifest.cases
    ]
    counts = {name: sum(name in names for names in shown) for name in manifest.classes}
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        raise InputError(f"No case of '{manifest.name}' shows a class. Label or mark some.")
    name = min(counts, key=lambda name: (counts[name], name))
    return name, counts[name] / len(manifest.cases)
