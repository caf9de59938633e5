"""Where marks lie after the steps, and where what was found there lies in the original image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overread.errors import InputError
from overread.finding import Box, Mask
from overread.image import Image
from overread.preprocessing.runs import Bitmap, crop_of, mask_from_crop

Boxes = NDArray[np.float64]
Line = NDArray[np.float64]


def boxes_to_prepared(boxes: NDArray[np.floating], image: Image) -> Boxes:
    """Boxes of the original image in the prepared one.

    Args:
        boxes: `(box, 4)` as (left, top, right, bottom), edges in original pixels.
        image: the prepared image.

    Returns:
        `(box, 4)`, edges in prepared pixels, cut to the image; a box that lies outside has no area left.

    Raises:
        InputError: for a volume, or an image that was turned.
    """
    columns, rows = _axes(image)
    return clipped(_moved(boxes, columns.to_prepared, rows.to_prepared), image.shape)


def boxes_to_original(boxes: NDArray[np.floating], image: Image) -> Boxes:
    """Boxes of the prepared image in the original one; the way back of `boxes_to_prepared`.

    What lies in the padding of the prepared image lies outside of the original one: see `clipped`.
    """
    columns, rows = _axes(image)
    return _moved(boxes, columns.to_original, rows.to_original)


def clipped(boxes: NDArray[np.floating], shape: tuple[int, ...]) -> Boxes:
    """Boxes cut to an image of (row, column) `shape`; one that lies outside has no area left."""
    height, width = shape
    return np.clip(np.asarray(boxes, dtype=np.float64), 0, (width, height, width, height))


def cells_to_original(cells: NDArray[np.floating], image: Image) -> NDArray[np.floating]:
    """Masks `(mark, m, m)` inside their boxes, turned back where the prepared image is mirrored."""
    columns, rows = _axes(image)
    return cells[:, :: -1 if rows.step < 0 else 1, :: -1 if columns.step < 0 else 1]


def heatmap_to_original(heatmap: NDArray[np.floating], image: Image) -> NDArray[np.float32]:
    """A map over the prepared image in the grid of the original one, linear between pixels, 0 where it was cropped.

    Args:
        heatmap: `(row, column)` or `(slice, row, column)`, the shape of the prepared image.
        image: the prepared image.

    Returns:
        Of the shape of the original image.
    """
    from scipy import ndimage  # slow to import

    axes = len(image.shape)
    order = [0, 1, 2][:axes][::-1]  # column, row, slice of the matrix; slice, row, column of the array
    to_prepared = np.linalg.inv(image.to_original)
    matrix, shift = to_prepared[np.ix_(order, order)], to_prepared[order, 3]
    moved = ndimage.affine_transform(
        np.asarray(heatmap, dtype=np.float32), matrix, shift, output_shape=image.original_shape, order=1, mode="nearest"
    )
    for axis, (old, new) in enumerate(zip(image.original_shape, image.shape, strict=True)):
        at = matrix[axis, axis] * np.arange(old) + shift[axis]
        outside = (at < -0.5) | (at > new - 0.5)
        moved[(slice(None),) * axis + (outside,)] = 0
    return np.asarray(moved, dtype=np.float32)


def slices_to_original(scores: NDArray[np.floating], image: Image) -> NDArray[np.floating]:
    """Numbers of the slices of a prepared image for those of the original one, linear between slices.

    Where the slices stayed as they were, so do their numbers; a slice that was cut away has none.

    Args:
        scores: `(slice, class)`.
        image: the prepared image.

    Returns:
        `(slice, class)` of the original image, NaN where a slice was cut away.
    """
    if len(image.original_shape) != 3:
        return scores
    step, start = image.to_original[2, 2], image.to_original[2, 3]
    asked = (np.arange(image.original_shape[0]) - start) / step
    below = np.clip(np.floor(asked).astype(int), 0, len(scores) - 1)
    above = np.minimum(below + 1, len(scores) - 1)
    share = np.clip(asked - below, 0, 1)[:, None]
    moved = np.asarray((1 - share) * scores[below] + share * scores[above], dtype=scores.dtype)
    moved[(asked < -0.5) | (asked > len(scores) - 0.5)] = np.nan
    return moved


def mask_to_prepared(mask: Bitmap, image: Image) -> Bitmap:
    """A mask of the original image in the prepared one, by the nearest pixel.

    A mask that would vanish because the image was shrunk keeps one pixel, where it lies inside the image at all.

    Args:
        mask: `(row, column)`, True inside, in the original grid.
        image: the prepared image.

    Returns:
        `(row, column)` in the prepared grid.

    Raises:
        InputError: for a volume, an image that was turned, or a mask of another shape than the original.
    """
    _require_shape(mask.shape, image)
    placed = np.zeros(image.shape, dtype=bool)
    hit_rows, hit_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(hit_rows):
        top, left = int(hit_rows[0]), int(hit_columns[0])
        own = mask[top : hit_rows[-1] + 1, left : hit_columns[-1] + 1]
        new_left, new_top, bitmap = _placed(own, left, top, image)
        placed[new_top : new_top + bitmap.shape[0], new_left : new_left + bitmap.shape[1]] = bitmap
    return placed


def masks_to_prepared(masks: Sequence[Mask], image: Image) -> list[tuple[int, int, Bitmap]]:
    """Many masks of the original image in the prepared one, each in its own small box.

    Returns:
        For each mask (left, top, `(row, column)` bitmap) in the prepared grid, the smallest box around what is left
        of it; a bitmap of shape (0, 0) where nothing is left.

    Raises:
        InputError: as `mask_to_prepared`.
    """
    placed = []
    for mask in masks:
        _require_shape(mask.shape, image)
        left, top, own = crop_of(mask)
        placed.append(_placed(own, left, top, image))
    return placed


def paste_mask(probability: NDArray[np.floating], box: Box | NDArray[np.floating], shape: tuple[int, int]) -> Mask:
    """A mask that a model gives inside a box, in the pixels of the image.

    The m x m cells are stretched over the box, bilinearly between their centres and towards 0 beyond the box (as
    torchvision's and Detectron2's pasting does); a pixel belongs to the mask from probability 1/2 on. A mask that
    would have no pixel keeps its most probable one, or that under the middle of the box.

    Args:
        probability: `(m, m)` in [0, 1].
        box: (left, top, right, bottom), edges in pixels of the original image.
        shape: (row, column) of the original image.

    Raises:
        InputError: for a box or probabilities that are not finite, or probabilities that are not (row, column).
    """
    cells = np.asarray(probability, dtype=np.float64)
    left, top, right, bottom = (float(edge) for edge in box)
    if cells.ndim != 2 or 0 in cells.shape or not np.isfinite(cells).all():
        raise InputError(f"A mask to paste is (row, column) of finite probabilities; found shape {cells.shape}.")
    if not np.isfinite((left, top, right, bottom)).all():
        raise InputError(f"A mask is pasted into a box with finite edges; found {(left, top, right, bottom)}.")
    first_row, row_weights = _weights(top, bottom, shape[0], cells.shape[0])
    first_column, column_weights = _weights(left, right, shape[1], cells.shape[1])
    values = row_weights @ cells @ column_weights.T
    if not values.size:
        row, column = _pixel((top + bottom) / 2, shape[0]), _pixel((left + right) / 2, shape[1])
        return mask_from_crop(np.ones((1, 1), dtype=bool), column, row, shape)
    bitmap = values >= 0.5
    if not bitmap.any():
        bitmap[np.unravel_index(values.argmax(), values.shape)] = True
    return mask_from_crop(bitmap, first_column, first_row, shape)


@dataclass(frozen=True)
class _Axis:
    """original = step * prepared + shift, along one axis; both are indices of pixel centres."""

    step: float
    shift: float

    def to_original(self, index: Line) -> Line:
        return index * self.step + self.shift

    def to_prepared(self, index: Line) -> Line:
        return (index - self.shift) / self.step


def _axes(image: Image) -> tuple[_Axis, _Axis]:
    if len(image.shape) != 2 or len(image.original_shape) != 2:
        raise InputError(
            f"{image.source.name}: marks are placed in (row, column) images; found a volume {image.shape}."
        )
    affine = image.to_original
    flat = affine[:2, :2]
    if abs(flat[0, 1]) + abs(flat[1, 0]) > 1e-9 * np.abs(flat).max() or not (np.diag(flat) != 0).all():
        raise InputError(
            f"{image.source.name}: marks can follow an image that was cut, scaled or mirrored; found one that was "
            f"turned (index map {flat.tolist()})."
        )
    return _Axis(affine[0, 0], affine[0, 3]), _Axis(affine[1, 1], affine[1, 3])


def _moved(boxes: NDArray[np.floating], columns: Callable[[Line], Line], rows: Callable[[Line], Line]) -> Boxes:
    old = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) - 0.5  # edges to centres, and back below
    new = np.empty_like(old)
    new[:, 0::2] = np.sort(columns(old[:, 0::2]), axis=1)  # a mirrored box has its edges the other way round
    new[:, 1::2] = np.sort(rows(old[:, 1::2]), axis=1)
    return new + 0.5


def _require_shape(shape: tuple[int, ...], image: Image) -> None:
    if tuple(shape) != tuple(image.original_shape):
        raise InputError(
            f"{image.source.name}: a mask has the shape of the original image, (row, column) {image.original_shape}; "
            f"found {tuple(shape)}."
        )


def _placed(own: Bitmap, left: int, top: int, image: Image) -> tuple[int, int, Bitmap]:
    """What is left, in the prepared grid, of a bitmap at (left, top) of the original grid."""
    axes = columns, rows = _axes(image)
    if not own.size:
        return 0, 0, np.zeros((0, 0), dtype=bool)
    new_rows, old_rows = _sampled(rows, top, own.shape[0], image.shape[0])
    new_columns, old_columns = _sampled(columns, left, own.shape[1], image.shape[1])
    bitmap = own[(old_rows - top)[:, None], (old_columns - left)[None, :]]
    if bitmap.any():
        hit_rows, hit_columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
        cut = bitmap[hit_rows[0] : hit_rows[-1] + 1, hit_columns[0] : hit_columns[-1] + 1]
        return int(new_columns[hit_columns[0]]), int(new_rows[hit_rows[0]]), cut
    return _one_pixel(own, left, top, axes, image.shape)


def _sampled(axis: _Axis, start: int, length: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The prepared indices whose nearest original index lies in [start, start + length), and those originals."""
    ends = axis.to_prepared(np.array([start, start + length]) - 0.5)
    first, last = max(0, int(np.floor(ends.min())) - 1), min(size, int(np.ceil(ends.max())) + 2)
    new = np.arange(first, max(first, last))
    # A pixel owns the half-open stretch [index - 1/2, index + 1/2); noise of the affine must not push a centre that
    # lies on the border to one side or the other.
    old = np.floor(np.round(axis.to_original(new.astype(np.float64)) + 0.5, 6)).astype(np.int64)
    inside = (old >= start) & (old < start + length)
    return new[inside], old[inside]


def _one_pixel(
    own: Bitmap, left: int, top: int, axes: tuple[_Axis, _Axis], shape: tuple[int, ...]
) -> tuple[int, int, Bitmap]:
    """The prepared pixel nearest to the middle of those mask pixels that lie inside the prepared image."""
    columns, rows = axes
    at_rows, at_columns = np.nonzero(own)
    new_rows = rows.to_prepared((at_rows + top).astype(np.float64))
    new_columns = columns.to_prepared((at_columns + left).astype(np.float64))
    height, width = shape
    inside = (np.abs(new_rows - (height - 1) / 2) <= height / 2) & (np.abs(new_columns - (width - 1) / 2) <= width / 2)
    if not inside.any():
        return 0, 0, np.zeros((0, 0), dtype=bool)
    new_rows, new_columns = new_rows[inside], new_columns[inside]
    nearest = np.hypot(new_rows - new_rows.mean(), new_columns - new_columns.mean()).argmin()
    row, column = _pixel(new_rows[nearest] + 0.5, height), _pixel(new_columns[nearest] + 0.5, width)
    return column, row, np.ones((1, 1), dtype=bool)


def _pixel(edge: float, size: int) -> int:
    """The pixel under an edge coordinate, the nearest one where that lies outside."""
    return min(size - 1, max(0, int(np.floor(edge))))


def _weights(low: float, high: float, size: int, cells: int) -> tuple[int, NDArray[np.float64]]:
    """Along one axis: the first pixel with its centre in the box, and `(pixel, cell)` bilinear weights."""
    first, last = max(0, int(np.ceil(low - 0.5))), min(size, int(np.ceil(high - 0.5)))
    pixels = np.arange(first, max(first, last))
    if not len(pixels) or high <= low:
        return first, np.zeros((0, cells))
    at = (pixels + 0.5 - low) / (high - low) * cells - 0.5
    return first, np.clip(1 - np.abs(at[:, None] - np.arange(cells)), 0, None)
