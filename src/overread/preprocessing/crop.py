"""Steps that cut away what is not the patient."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from overread.image import Image
from overread.preprocessing.geometry import scaling
from overread.preprocessing.step import Step, history_line, require_flat, steps


@steps.add("crop-foreground")
class CropForeground(Step):
    """Cut away the dark frame around what is bright, such as the air around a breast.

    An image in which nothing is brighter than the threshold stays whole.

    Args:
        percentile: what is brighter than this percentile of the image's pixels is foreground; None takes Otsu's
            threshold (Otsu 1979), which parts dark from bright with the least spread in both.
        margin_px: how many pixels are kept around the foreground, where there are any.
    """

    percentile: Annotated[float, Field(ge=0, lt=100)] | None = None
    margin_px: Annotated[int, Field(ge=0)] = 0

    def __call__(self, image: Image) -> Image:
        """The cut image, in the same units.

        Raises:
            InputError: for a volume.
        """
        require_flat(image, self)
        bright = image.pixels.mean(axis=0, dtype=np.float64)
        foreground = bright > self._threshold(bright)
        if not foreground.any():
            return image.with_pixels(image.pixels, by=f"{history_line(self)} (nothing stands out, kept whole)")
        top, bottom = self._ends(foreground.any(axis=1))
        left, right = self._ends(foreground.any(axis=0))
        return image.with_pixels(
            image.pixels[:, top:bottom, left:right],
            by=history_line(self),
            index_map=scaling(1, 1, left=-left, top=-top),
        )

    def _threshold(self, bright: NDArray[np.float64]) -> float:
        if self.percentile is not None:
            return float(np.percentile(bright, self.percentile))
        if bright.min() == bright.max():
            return float(bright.max())
        from skimage.filters import threshold_otsu  # slow to import

        return float(threshold_otsu(bright))  # type: ignore[no-untyped-call]

    def _ends(self, line: NDArray[np.bool_]) -> tuple[int, int]:
        hits = np.flatnonzero(line)
        return max(0, int(hits[0]) - self.margin_px), min(len(line), int(hits[-1]) + 1 + self.margin_px)
