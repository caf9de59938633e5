"""Steps that change how many pixels an image has."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from PIL import Image as Pillow
from pydantic import Field, model_validator

from overread.errors import InputError
from overread.image import Affine, Image, Pixels
from overread.preprocessing.step import Intensity, Step, history_line, require_flat, steps

MAX_SIDE = 16_384
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


@steps.add("resize")
class Resize(Step):
    """Enlarge or shrink an image; its proportions stay, and what is shrunk is smoothed first.

    Either `height` and `width`: the image is fitted inside, centred, and padded to exactly that size. Or `factor`:
    the image is that many times as large, up to `longest`.

    Args:
        height: rows of the result.
        width: columns of the result.
        factor: new size over old size, in [0.01, 16].
        longest: with `factor`: the longer side is not made longer than this many pixels.
        pad_value: what the padding holds; None takes the image's own minimum.
    """

    height: Side | None = None
    width: Side | None = None
    factor: Annotated[float, Field(ge=0.01, le=16)] | None = None
    longest: Side | None = None
    pad_value: Intensity | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.height is None) != (self.width is None) or (self.height is None) == (self.factor is None):
            raise ValueError("give either height and width, or factor")
        if self.longest is not None and self.factor is None:
            raise ValueError("longest goes with factor")
        if self.pad_value is not None and self.factor is not None:
            raise ValueError("pad_value goes with height and width; factor pads nothing")
        return self

    def __call__(self, image: Image) -> Image:
        """The image in its new size, in the same units.

        Raises:
            InputError: for a volume, or a result of more than MAX_SIDE pixels a side.
        """
        require_flat(image, self)
        rows, columns = image.shape
        height, width, scale = self._target(rows, columns)
        # Whole pixels of content in a whole-pixel frame: where content ends and padding begins is never blurred.
        content = (min(height, max(1, round(rows * scale))), min(width, max(1, round(columns * scale))))
        top, left = (height - content[0]) // 2, (width - content[1]) // 2
        pad = float(image.pixels.min()) if self.pad_value is None else self.pad_value
        pixels = np.full((image.channels, height, width), pad, dtype=np.float32)
        for channel, old in zip(pixels, image.pixels, strict=True):
            channel[top : top + content[0], left : left + content[1]] = _resampled(old, content)
        index_map = scaling(columns / content[1], rows / content[0], left=left, top=top)
        return image.with_pixels(pixels, by=history_line(self), index_map=index_map)

    def _target(self, rows: int, columns: int) -> tuple[int, int, float]:
        if self.height is not None and self.width is not None:
            return self.height, self.width, min(self.height / rows, self.width / columns)
        scale = self.factor or 1.0
        if self.longest is not None:
            scale = min(scale, self.longest / max(rows, columns))
        height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
        if max(height, width) > MAX_SIDE:
            raise InputError(
                f"'resize' makes images of up to {MAX_SIDE} pixels a side; an image of {rows} x {columns} would become "
                f"{height} x {width}. Give a smaller factor, or longest."
            )
        return height, width, scale


def scaling(column_step: float, row_step: float, *, left: float = 0, top: float = 0) -> Affine:
    """`(4, 4)` from new index to old index, where (left, top) of the new image is the first pixel of the old.

    Indices are pixel centres, so the outer *edges* of the two images fall together:
    old = (new - left + 1/2) * step - 1/2.
    """
    index_map = np.eye(4)
    index_map[0, 0], index_map[1, 1] = column_step, row_step
    index_map[0, 3] = (0.5 - left) * column_step - 0.5
    index_map[1, 3] = (0.5 - top) * row_step - 0.5
    return index_map


def _resampled(old: Pixels, shape: tuple[int, int]) -> Pixels:
    if old.shape == shape:
        return old
    # Pillow widens the bilinear kernel by the factor of shrinking, which is the antialiasing; the result never leaves
    # the range of the old values.
    flat = Pillow.fromarray(np.ascontiguousarray(old)).resize((shape[1], shape[0]), Pillow.Resampling.BILINEAR)
    return np.clip(np.asarray(flat, dtype=np.float32), old.min(), old.max())
