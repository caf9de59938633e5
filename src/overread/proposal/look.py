"""What the images of a data set are like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import numpy as np

from overread.data.manifest import Case, ImageRef
from overread.data.problems import ImageFacts, facts_in
from overread.errors import InputError, UnreadableImage
from overread.image import Image

LOOKED_AT = 12
"""Images whose pixels are looked at, spread over the data set."""


@dataclass(frozen=True)
class Look:
    """What the images of a data set are like.

    Args:
        images: a few of them, whose pixels and spacings are looked at.
        facts: of all of them, for sizes and channels; by default of those few.
    """

    images: tuple[Image, ...]
    facts: tuple[ImageFacts, ...] = ()

    def __post_init__(self) -> None:
        if not self.facts:
            object.__setattr__(self, "facts", tuple(map(facts_in, self.images)))

    @classmethod
    def at(cls, cases: Sequence[Case], facts: Callable[[ImageRef], ImageFacts]) -> Look:
        """Look at all images, and closer at a few, spread evenly.

        Args:
            cases: whose images.
            facts: how to know an image. Raises UnreadableImage for one that cannot be read.

        Raises:
            InputError: none can be read, or some are volumes and some are not.
        """
        from overread import io

        known = []
        for ref in [ref for case in cases for ref in case.images]:
            with suppress(UnreadableImage):  # `overread inspect` names them all
                known.append(facts(ref))
        chosen = sorted({round(place) for place in np.linspace(0, len(cases) - 1, min(LOOKED_AT, len(cases)))})
        images = []
        for ref in [ref for index in chosen for ref in cases[index].images[:1]]:
            with suppress(UnreadableImage):
                images.append(io.read(ref.path, item=ref.item))
        if not images:
            raise InputError(
                f"None of {len(chosen)} images that were looked at can be read. See: overread inspect DATA"
            )
        if len({len(one.shape) for one in known}) > 1:
            raise InputError("Some of the images are flat and some are volumes. Part them into data sets of one kind.")
        return cls(tuple(images), tuple(known))

    @property
    def side(self) -> int:
        """The longer side of the middle image, in pixels."""
        return int(median(max(one.shape[-2:]) for one in self.facts))

    @property
    def slices(self) -> frozenset[int]:
        """How many slices volumes have; empty for flat images."""
        return frozenset(one.shape[0] for one in self.facts if len(one.shape) == 3)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Of the middle image, along (column, row, slice); None where some image has none."""
        found = self._spacings()
        return (median(found[0]), median(found[1]), median(found[2])) if found else None

    @property
    def spacing(self) -> str:
        """In words, ([slice x] row x column); empty where some image has none."""
        found = self._spacings()
        if not found:
            return ""
        axes = found[::-1] if self.slices else found[1::-1]
        return f"{' x '.join(_range(axis) for axis in axes)} mm {'a voxel' if self.slices else 'a pixel'}"

    @property
    def spacing_differs(self) -> float:
        """How many times as large the pixels of one image are as those of another; 1 where that is not known."""
        return max((max(axis) / min(axis) for axis in self._spacings()), default=1.0)

    def _spacings(self) -> list[list[float]]:
        """Along (column, row, slice), of each image; empty where some image has none."""
        found = [None if image.geometry is None else image.geometry.spacing_mm for image in self.images]
        known = [one for one in found if one is not None]
        return [list(axis) for axis in zip(*known, strict=True)] if len(known) == len(found) else []

    @property
    def size(self) -> str:
        """Sizes in words, ([slice x] row x column)."""
        sizes = Counter(" x ".join(map(str, one.shape)) for one in self.facts)
        return f"{sizes.most_common(1)[0][0]} px" + (" and others" if len(sizes) > 1 else "")

    @property
    def channels(self) -> frozenset[int]:
        """How many channels images have."""
        return frozenset(one.channels for one in self.facts)

    @property
    def is_grey(self) -> bool:
        """Whether all images are grey, also where they are kept as colours."""
        return all(np.ptp(image.pixels, axis=0).max() == 0 for image in self.images)

    @property
    def units(self) -> str:
        """What the numbers of all images mean, such as "HU"; "several" where they differ."""
        found = {image.units for image in self.images}
        return found.pop() if len(found) == 1 else "several"

    @property
    def is_deep(self) -> bool:
        """Whether images have more than 8 bits, so that a few bright pixels can set the range."""
        return any(image.pixels.max() > 255 or image.pixels.min() < 0 for image in self.images)


def _range(values: Sequence[float]) -> str:
    """One number where all are alike to 1 %, else from where to where.

    >>> _range([0.5, 0.502]), _range([0.5, 1.25])
    ('0.5', '0.5 to 1.25')
    """
    low, high = min(values), max(values)
    return f"{low:.3g}" if high <= low * 1.01 else f"{low:.3g} to {high:.3g}"
