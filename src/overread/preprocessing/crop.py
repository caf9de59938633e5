"""Steps that cut away what is not the patient."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from overread.image import Image
from overread.preprocessing.geometry import scaling
from overread.preprocessing.step import Step, history_line, require_volume, steps


@steps.add("crop-foreground")
class CropForeground(Step):
    """Cut away the dark frame around what is bright, such as the air around a breast.

    An image in which nothing is brighter than the threshold stays whole. All slices of a volume are cut alike, to the
    box around what is bright in any of them.

    Args:
        percentile: what is brighter than this percentile of the image's pixels is foreground; None takes Otsu's
            threshold (Otsu 1979), which parts dark from bright with the least spread in both.
        margin_px: how many pixels are kept around the foreground, where there are any.
        slices: of a volume, whether the slices before the first and behind the last bright one are cut away too; no
            margin is kept there.
    """

    percentile: Annotated[float, Field(ge=0, lt=100)] | None = None
    margin_px: Annotated[int, Field(ge=0)] = 0
    slices: bool = False

    def __call__(self, image: Image) -> Image:
        """The cut image, in the same units.

        Raises:
            InputError: for a flat image, where `slices` is set.
        """
        if self.slices:
            require_volume(image, self)
        bright = image.pixels.mean(axis=0, dtype=np.float64)
        foreground = bright > self._threshold(bright)
        if not foreground.any():
            return image.with_pixels(image.pixels, by=f"{history_line(self)} (nothing stands out, kept whole)")
        depth = tuple(range(foreground.ndim - 2))  # the axis of slices, where there is one
        top, bottom = _ends(foreground.any(axis=(*depth, -1)), self.margin_px)
        left, right = _ends(foreground.any(axis=(*depth, -2)), self.margin_px)
        front, pixels = 0, image.pixels[..., top:bottom, left:right]
        if self.slices:
            front, back = _ends(foreground.any(axis=(1, 2)), 0)
            pixels = pixels[:, front:back]
        index_map = scaling(1, 1, left=-left, top=-top, front=-front)
        return image.with_pixels(pixels, by=history_line(self), index_map=index_map)

    def _threshold(self, bright: NDArray[np.float64]) -> float:
        if self.percentile is not None:
            return float(np.percentile(bright, self.percentile))
        if bright.min() == bright.max():
            return float(bright.max())
        from skimage.filters import threshold_otsu  # slow to import

        return float(threshold_otsu(bright.ravel()))  # type: ignore[no-untyped-call]


def _ends(line: NDArray[np.bool_], margin: int) -> tuple[int, int]:
    """The first place that is hit and the one behind the last, with a margin where there is room."""
    hits = np.flatnonzero(line)
    return max(0, int(hits[0]) - margin), min(len(line), int(hits[-1]) + 1 + margin)
