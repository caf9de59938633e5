"""How large the images were that a model learned from, and which are far from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import ConfigDict

from overread.image import Image

FAR = 1.5
"""A side that is so many times as long as any that was learned from, or as short, shows everything in another size."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The extent of prepared images.

    Args:
        sides: pixels of the shortest and of the longest side of any of them.
        slices: of the case with the fewest and of that with the most; 1 is a flat image.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    sides: tuple[int, int]
    slices: tuple[int, int]

    @classmethod
    def of(cls, images: Iterable[Image]) -> Self:
        """That of some images, at least one."""
        shapes = {image.shape for image in images}
        sides = {side for shape in shapes for side in shape[-2:]}
        slices = {shape[0] if len(shape) == 3 else 1 for shape in shapes}
        return cls(sides=(min(sides), max(sides)), slices=(min(slices), max(slices)))

    def misfit(self, image: Image) -> str | None:
        """Why what a model says of an image may hang on its size alone; None where it is as large as others were.

        How many slices there are is not looked at: a longer clip shows nothing in another size.
        """
        low, high = self.sides
        short, long = min(image.shape[-2:]), max(image.shape[-2:])
        if short * FAR >= low and long <= high * FAR:
            return None
        known = f"{low}" if low == high else f"{low} to {high}"
        rows, columns = image.shape[-2:]
        return (
            f"as the model would see it, it is {rows} x {columns} px; what it learned from had sides of {known} px, "
            "and the size alone can change the answer. Train with a step 'resize', which makes all alike."
        )
