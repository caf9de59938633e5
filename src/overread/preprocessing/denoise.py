"""Steps that take noise away."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from overread.image import Image
from overread.preprocessing.step import Step, history_line, steps


@steps.add("median-denoise")
class MedianDenoise(Step):
    """Replace every pixel by the median of its neighbourhood; takes specks away and keeps edges.

    Of a volume every slice is taken by itself: slices may lie far apart, or follow each other in time.

    Args:
        size: side of the square neighbourhood in pixels, odd. At the border the outermost pixels are repeated.
    """

    size: Annotated[int, Field(ge=3, le=31)] = 3

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError(f"a neighbourhood has a middle pixel, so its size is odd; found {size}")
        return size

    def __call__(self, image: Image) -> Image:
        """The image with less noise."""
        from scipy import ndimage  # slow to import

        size = (*(1,) * (image.pixels.ndim - 2), self.size, self.size)
        smooth = ndimage.median_filter(image.pixels, size=size, mode="nearest")
        return image.with_pixels(smooth, by=history_line(self))
