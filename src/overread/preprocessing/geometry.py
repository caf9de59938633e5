"""Steps that change how many pixels an image has."""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
from PIL import Image as Pillow
from pydantic import Field, model_validator

from overread.errors import InputError
from overread.image import Affine, Image, Pixels
from overread.preprocessing.step import Intensity, Step, history_line, require_volume, steps

MAX_SIDE = 16_384
MAX_VALUES = 3 * MAX_SIDE**2
"""Most numbers of a resized image: those of the largest picture in colour."""

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


@steps.add("resize")
class Resize(Step):
    """Enlarge or shrink an image; its proportions stay, and what is shrunk is smoothed first.

    Either `height` and `width`: the image is fitted inside, centred, and padded to exactly that size. Or `factor`:
    the image is that many times as large, up to `longest`. Of a volume every slice is resized so, and with `slices`
    their number too, over the same depth.

    Args:
        height: rows of the result.
        width: columns of the result.
        factor: new size over old size, in [0.01, 16].
        longest: with `factor`: the longer side is not made longer than this many pixels.
        pad_value: what the padding holds; None takes the image's own minimum.
        slices: slices of the result, for volumes; None leaves their number as it is.
    """

    height: Side | None = None
    width: Side | None = None
    factor: Annotated[float, Field(ge=0.01, le=16)] | None = None
    longest: Side | None = None
    pad_value: Intensity | None = None
    slices: Side | None = None

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
            InputError: for a result of more than MAX_SIDE pixels a side or MAX_VALUES numbers, or a flat image where
                `slices` is given.
        """
        if self.slices is not None:
            require_volume(image, self)
        rows, columns = image.shape[-2:]
        height, width, scale = self._target(rows, columns)
        self._require_room(image, (*image.pixels.shape[:-2], height, width))
        # Whole pixels of content in a whole-pixel frame: where content ends and padding begins is never blurred.
        content = (min(height, max(1, round(rows * scale))), min(width, max(1, round(columns * scale))))
        top, left = (height - content[0]) // 2, (width - content[1]) // 2
        pad = float(image.pixels.min()) if self.pad_value is None else self.pad_value
        old = image.pixels if self.slices is None else _with_slices(image.pixels, self.slices)
        pixels = np.full((*old.shape[:-2], height, width), pad, dtype=np.float32)
        inside = pixels[..., top : top + content[0], left : left + content[1]]
        for plane in np.ndindex(old.shape[:-2]):
            inside[plane] = _resampled(old[plane], content)
        slice_step = 1 if self.slices is None else image.shape[0] / self.slices
        index_map = scaling(columns / content[1], rows / content[0], slice_step, left=left, top=top)
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

    def _require_room(self, image: Image, shape: tuple[int, ...]) -> None:
        if self.slices is not None:
            shape = (shape[0], self.slices, *shape[2:])
        if math.prod(shape) > MAX_VALUES:
            raise InputError(
                f"{image.source.name}: 'resize' makes images of up to {MAX_VALUES:,} numbers; this one would become "
                f"(channel, slice, row, column) {shape}. Give smaller sizes."
            )


def scaling(
    column_step: float, row_step: float, slice_step: float = 1, *, left: float = 0, top: float = 0, front: float = 0
) -> Affine:
    """`(4, 4)` from new index to old index, where (left, top, front) of the new image is the first pixel of the old.

    Indices are pixel centres, so the outer *edges* of the two images fall together:
    old = (new - left + 1/2) * step - 1/2.
    """
    index_map = np.eye(4)
    for axis, (step, start) in enumerate(((column_step, left), (row_step, top), (slice_step, front))):
        index_map[axis, axis], index_map[axis, 3] = step, (0.5 - start) * step - 0.5
    return index_map


def _with_slices(old: Pixels, count: int) -> Pixels:
    """A volume `(channel, slice, row, column)` with so many slices over the same depth."""
    new = np.empty((old.shape[0], count, *old.shape[2:]), dtype=np.float32)
    for channel in range(old.shape[0]):
        for row in range(old.shape[2]):
            new[channel, :, row] = _resampled(old[channel, :, row], (count, old.shape[3]))
    return new


def _resampled(old: Pixels, shape: tuple[int, int]) -> Pixels:
    if old.shape == shape:
        return old
    # Pillow widens the bilinear kernel by the factor of shrinking, which is the antialiasing; the result never leaves
    # the range of the old values.
    flat = Pillow.fromarray(np.ascontiguousarray(old)).resize((shape[1], shape[0]), Pillow.Resampling.BILINEAR)
    return np.clip(np.asarray(flat, dtype=np.float32), old.min(), old.max())
