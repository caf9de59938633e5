"""Training images varied as real ones vary; image, masks and boxes move together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from overread.data.marks import PreparedMarks
from overread.data.section import AugmentationSection
from overread.lean_import import without_compiler
from overread.models.contract import Truths

with without_compiler():
    from torchvision import tv_tensors
    from torchvision.ops import box_area
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as move

_SEEN = 0.1  # a mark of which less is left in a crop is not a lesion that anyone could name
_LESION = 2 / 3  # of the crops show a lesion for certain: most of an image is empty


def augment(
    pixels: NDArray[np.float32],
    marks: PreparedMarks | None,
    section: AugmentationSection | None,
    rng: np.random.Generator,
) -> tuple[Tensor, Truths | None]:
    """One varied copy of an image and its marks.

    Args:
        pixels: `(channel, row, column)` or `(channel, slice, row, column)`; all slices are varied alike.
        marks: in the grid of `pixels`, of flat images only; None for data sets of labels.
        section: what may vary; None leaves all as it is.
        rng: makes every choice.

    Returns:
        The image, with the axes of `pixels`, and its marks in its own grid.
    """
    section = section or AugmentationSection()
    if pixels.ndim == 3:
        return _varied(pixels, marks, section, rng)
    volume = _tilted(pixels, section, rng)
    layers, _ = _varied(volume.reshape(-1, *volume.shape[2:]), None, section, rng)
    return layers.reshape(*volume.shape[:2], *layers.shape[1:]), None


def _varied(
    pixels: NDArray[np.float32], marks: PreparedMarks | None, section: AugmentationSection, rng: np.random.Generator
) -> tuple[Tensor, Truths | None]:
    zoom = rng.uniform(*section.zoom)
    if section.crop is None:
        window = (0, 0, pixels.shape[2], pixels.shape[1])
    else:
        window = _window(pixels.shape[1:], section.crop / zoom, marks, rng)
    cut, boxes, classes, masks = _cut(pixels, marks, window)
    if section.crop is not None:
        cut, boxes, masks = _stretch(cut, boxes, masks, section.crop)
        zoom = 1.0
    image = torch.from_numpy(cut)
    size = image.shape[-2:]
    moved: list[Tensor] = [tv_tensors.Image(image)]
    if marks is not None:
        moved.append(tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size, clamping_mode=None))
        if masks is not None:
            moved.append(tv_tensors.Mask(masks))
    moved = _turn(moved, section, zoom, rng)
    image = _shade(moved[0].as_subclass(Tensor), section, rng)
    if marks is None:
        return image, None
    return image, _truths(moved[1], classes, moved[2] if masks is not None else None, image.shape[-2:])


def _tilted(volume: NDArray[np.float32], section: AugmentationSection, rng: np.random.Generator) -> NDArray[np.float32]:
    """A volume with its slices in reverse, half of the time, and turned out of its plane."""
    reverse, angles = rng.random() < 0.5, np.radians(rng.uniform(-1, 1, size=2) * section.tilt_degrees)
    if section.flip_slices and reverse:
        volume = volume[:, ::-1]
    if not section.tilt_degrees:
        return np.array(volume)
    (about_rows, about_columns), size = angles, np.array(volume.shape[:0:-1], dtype=np.float64)
    first = np.array(
        [[np.cos(about_rows), 0, np.sin(about_rows)], [0, 1, 0], [-np.sin(about_rows), 0, np.cos(about_rows)]]
    )
    second = np.array(
        [
            [1, 0, 0],
            [0, np.cos(about_columns), -np.sin(about_columns)],
            [0, np.sin(about_columns), np.cos(about_columns)],
        ]
    )
    # grid_sample counts each axis from -1 to 1, whatever its length: the turn is made in voxels
    turn = (first @ second) * size[None, :] / size[:, None]
    whole = torch.from_numpy(np.array(volume))[None]
    theta = torch.from_numpy(np.concatenate([turn, np.zeros((3, 1))], axis=1)).float()[None]
    grid = functional.affine_grid(theta, list(whole.shape), align_corners=False)
    return functional.grid_sample(whole, grid, padding_mode="border", align_corners=False)[0].numpy()


def _window(
    shape: tuple[int, ...], side: float, marks: PreparedMarks | None, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random square (left, top, right, bottom) of about `side` pixels; it sticks out only where it must."""
    whole = max(round(side), 1)
    lesion, chosen, places = rng.random() < _LESION, rng.random(), rng.random(2)
    starts = []
    for axis, size in ((0, shape[1]), (1, shape[0])):
        low, high = min(0, size - whole), max(0, size - whole)
        if marks is not None and len(marks.boxes) and lesion:
            box = marks.boxes[int(chosen * len(marks.boxes))]
            centre = (box[axis] + box[axis + 2]) / 2
            low, high = int(np.clip(centre - whole + 1, low, high)), int(np.clip(centre, low, high))
        starts.append(low + int(places[axis] * (high - low + 1)))
    left, top = starts
    return left, top, left + whole, top + whole


def _cut(
    pixels: NDArray[np.float32], marks: PreparedMarks | None, window: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], Tensor, Tensor, Tensor | None]:
    """The window of the image and what is left of the marks in it."""
    left, top, right, bottom = window
    rows, columns = pixels.shape[1:]
    inside = pixels[:, max(top, 0) : min(bottom, rows), max(left, 0) : min(right, columns)]
    if inside.shape[1:] != (bottom - top, right - left):
        cut = np.full((len(pixels), bottom - top, right - left), pixels.min(), dtype=np.float32)
        row, column = max(-top, 0), max(-left, 0)
        cut[:, row : row + inside.shape[1], column : column + inside.shape[2]] = inside
    else:
        cut = np.array(inside)
    if marks is None:
        return cut, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None
    low, high = np.array([left, top]), np.array([right, bottom])
    start = np.clip(marks.boxes[:, :2], low, high)
    stop = np.clip(marks.boxes[:, 2:], low, high)
    area = np.prod(marks.boxes[:, 2:] - marks.boxes[:, :2], axis=1)
    kept = np.flatnonzero(np.prod(stop - start, axis=1) >= _SEEN * area)
    boxes = torch.from_numpy(np.concatenate([start - low, stop - low], axis=1)[kept].astype(np.float32))
    masks = None
    if marks.bitmaps is not None:
        masks = torch.zeros(len(kept), *cut.shape[1:], dtype=torch.uint8)
        for number, index in enumerate(kept):
            _paste(masks[number].numpy(), marks.bitmaps[index], left, top)
    return cut, boxes, torch.from_numpy(marks.classes[kept]), masks


def _paste(canvas: NDArray[np.uint8], bitmap: tuple[int, int, NDArray[np.bool_]], left: int, top: int) -> None:
    column, row = bitmap[0] - left, bitmap[1] - top
    rows, columns = bitmap[2].shape
    first_row, first_column = max(row, 0), max(column, 0)
    last_row, last_column = min(row + rows, canvas.shape[0]), min(column + columns, canvas.shape[1])
    if last_row > first_row and last_column > first_column:
        canvas[first_row:last_row, first_column:last_column] = bitmap[2][
            first_row - row : last_row - row, first_column - column : last_column - column
        ]


def _stretch(
    cut: NDArray[np.float32], boxes: Tensor, masks: Tensor | None, side: int
) -> tuple[NDArray[np.float32], Tensor, Tensor | None]:
    """Bring the window to its final size."""
    if cut.shape[1] == side:
        return cut, boxes, masks
    boxes = boxes * (side / cut.shape[1])
    image = move.resize(torch.from_numpy(cut), [side, side], antialias=True)
    if masks is not None and len(masks):
        masks = move.resize(masks, [side, side], interpolation=v2.InterpolationMode.NEAREST_EXACT)
    elif masks is not None:
        masks = masks.new_zeros(0, side, side)
    return image.numpy(), boxes, masks


def _turn(moved: list[Tensor], section: AugmentationSection, zoom: float, rng: np.random.Generator) -> list[Tensor]:
    """Mirror, turn, move and enlarge all of an image's tensors alike."""
    mirror, upside_down, quarters = rng.random() < 0.5, rng.random() < 0.5, int(rng.integers(4))
    angle = rng.uniform(-section.rotation_degrees, section.rotation_degrees)
    across, down = rng.uniform(-section.shift, section.shift, size=2)
    if section.flip and mirror:
        moved = [move.horizontal_flip(one) for one in moved]
    if section.flip_vertical and upside_down:
        moved = [move.vertical_flip(one) for one in moved]
    if section.quarter_turns and quarters:
        moved = [move.rotate(one, 90.0 * quarters, expand=True) for one in moved]
    if angle or across or down or zoom != 1.0:
        rows, columns = moved[0].shape[-2:]
        lowest = moved[0].amin(dim=(1, 2)).tolist()
        moved = [
            move.affine(
                one,
                angle=angle,
                translate=[across * columns, down * rows],
                scale=zoom,
                shear=[0.0, 0.0],
                interpolation=(
                    v2.InterpolationMode.BILINEAR if isinstance(one, tv_tensors.Image) else v2.InterpolationMode.NEAREST
                ),
                fill=lowest if isinstance(one, tv_tensors.Image) else 0,
            )
            for one in moved
        ]
    return moved


def _shade(image: Tensor, section: AugmentationSection, rng: np.random.Generator) -> Tensor:
    """Change brightness and contrast and add noise, in shares of the image's own range."""
    shift, stretch = rng.uniform(-section.brightness, section.brightness), rng.uniform(-1, 1) * section.contrast
    strength = rng.uniform(0, section.noise)
    spread = float(image.max() - image.min())
    if stretch:
        middle = image.mean()
        image = (image - middle) * (1 + stretch) + middle
    if shift:
        image = image + shift * spread
    if strength:
        image = image + torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)) * (strength * spread)
    return image


def _truths(boxes: Tensor, classes: Tensor, masks: Tensor | None, size: torch.Size) -> Truths:
    """Marks as a model wants them: what is left of them inside the image, none without area."""
    if masks is not None:
        masks = masks.as_subclass(Tensor)
        seen = (masks > 0).flatten(1).any(1)
        masks, classes = masks[seen], classes[seen]
        boxes = _boxes_around(masks)
        return Truths(boxes, classes, masks)
    boxes = boxes.as_subclass(Tensor).float()
    inside = boxes.clamp(min=0).minimum(torch.tensor([size[1], size[0], size[1], size[0]]))
    whole, left = (box_area(some) for some in (boxes, inside))
    seen = (left > 0) & (left >= _SEEN * whole)
    return Truths(inside[seen], classes[seen])


def _boxes_around(masks: Tensor) -> Tensor:
    """`(mark, 4)` around masks `(mark, row, column)`, none of them empty; edges, so that one pixel has area 1."""
    rows, columns = (masks > 0).any(2).to(torch.uint8), (masks > 0).any(1).to(torch.uint8)
    height, width = masks.shape[1:]
    left, top = columns.argmax(1), rows.argmax(1)
    right, bottom = width - columns.flip(1).argmax(1), height - rows.flip(1).argmax(1)
    return torch.stack([left, top, right, bottom], 1).float()
