"""Images with true and predicted marks, drawn at random but always the same for a seed."""

from collections.abc import Callable

import numpy as np
import pytest

from overread.finding import Finding, Mask, Region

SIDE = 48


def _region(rng: np.random.Generator, near: Region | None = None) -> Region:
    if near is None:
        left, top = rng.integers(0, SIDE - 12, size=2)
        width, height = rng.integers(8, 12, size=2)
    else:
        old = np.array(near.box)
        left, top = np.clip(old[:2] + rng.choice([-1, 0, 0, 0, 1], size=2), 0, SIDE - 5).astype(int)
        width, height = np.maximum(old[2:] - old[:2] + rng.choice([-1, 0, 0, 1], size=2), 2).astype(int)
    pixels = np.zeros((SIDE, SIDE), dtype=bool)
    pixels[top : top + height, left : left + width] = True
    pixels[top, left] = False  # the mask is not its box
    return Region.from_mask(Mask.from_array(pixels))


@pytest.fixture(scope="session")
def drawn_marks() -> Callable[..., tuple[dict[str, list[Finding]], dict[str, list[Finding]]]]:
    """Truth and predictions of some images; every third image is normal, every fourth has no prediction."""

    def make(
        seed: int, images: int = 12, classes: tuple[str, ...] = ("mass", "cyst")
    ) -> tuple[dict[str, list[Finding]], dict[str, list[Finding]]]:
        rng = np.random.default_rng(seed)
        truth: dict[str, list[Finding]] = {}
        predicted: dict[str, list[Finding]] = {}
        for image in range(images):
            case = f"case-{image:03d}"
            wanted = 0 if image % 3 == 2 else int(rng.integers(1, 7))
            truth[case] = [Finding(str(rng.choice(classes)), _region(rng)) for _ in range(wanted)]
            near = [Finding(mark.label, _region(rng, mark.region), score=rng.uniform(0.2, 1)) for mark in truth[case]]
            stray = [Finding(str(rng.choice(classes)), _region(rng), score=rng.random() * 0.7) for _ in range(3)]
            marks = [mark for mark in near if rng.random() < 0.85] + stray
            predicted[case] = [] if image % 4 == 3 else marks
        return truth, predicted

    return make
