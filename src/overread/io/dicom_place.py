"""Where the pixels of a DICOM image lie in the patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from overread.errors import InputError
from overread.image import Geometry
from overread.io.dicom_header import number_of, numbers_of

if TYPE_CHECKING:
    from pydicom import Dataset

EVEN = 0.05
"""How far a frame may lie from its place in an even stack, as a part of the distance of two frames.

Positions are rounded by those who write them; a frame that is missing is off by a whole distance, and a distance that
changes along the stack soon is, because what is too much adds up.
"""

SAME_DIRECTION = 1e-4
"""By how much the directions and pixel spacings of the frames of one stack may differ: 0.05 mm over half a metre."""

STEEPEST = 0.5
"""Least distance of two frames along their normal, as a part of that between their first pixels: a tilted gantry shifts
them sideways by up to 30 degrees, this is 60."""

Plane = NDArray[np.float64]
"""`(3, 4)`, the upper rows of an affine: one column on, one row on, the normal (of length 1), the first pixel's centre;
each as (x, y, z) in patient mm, LPS."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where the frames of a file lie.

    Args:
        slices: which slice each frame of the file is.
        geometry: index to patient mm; None where the file does not say it of all frames together.
        sides: to which sides of the patient a row and a column of pixels run; None where that is not known.
        history: in words what was left out and why.
    """

    slices: list[int]
    geometry: Geometry | None
    sides: tuple[str, str] | None
    history: tuple[str, ...] = ()


def place_of(headers: Iterable[Dataset]) -> Place:
    """Where frames lie, each given by its own header, in the order of the file.

    The frames of one even stack (see `stack_of`) are its slices. All others stay in the order of the file and have no
    geometry: a clip has no third direction in space, and none is made up.
    """
    following = iter(headers)
    first = next(following)
    plane, lines = _plane_of(first)
    planes, stated = [plane, *(_plane_of(header)[0] for header in following)], _stated_sides(first)
    if len(planes) == 1:
        geometry, lines = (None, lines) if plane is None else _thick(first, plane)
        return Place([0], geometry, stated, lines)
    known, count = [plane for plane in planes if plane is not None], f"{len(planes)} frames"
    as_filed = list(range(len(planes)))
    if len(known) < len(planes):
        lines = (f"no geometry: the place of {len(planes) - len(known)} frames is not known",) if known else lines
        return Place(as_filed, None, stated, (*lines, f"{count} in the order of the file"))
    found, slices = stack_of(known)
    if isinstance(found, Geometry):
        return Place(slices, found, None, (f"{count} sorted along their stack",))
    sides = {flat.sides for flat in (_spanned(plane, plane[:, 2]) for plane in known) if flat is not None}
    return Place(
        as_filed,
        None,
        sides.pop() if len(sides) == 1 else None,
        (f"no geometry: {found}", f"{count} in the order of the file"),
    )


def _thick(dataset: Dataset, plane: Plane) -> tuple[Geometry | None, tuple[str, ...]]:
    """Index to patient mm of a frame alone; its thickness gives the third direction its length."""
    gap = number_of(dataset, "SpacingBetweenSlices") or number_of(dataset, "SliceThickness")
    if not gap:
        return None, ("no geometry: neither slice spacing nor slice thickness is known",)
    geometry = _spanned(plane, plane[:, 2] * abs(gap))
    return geometry, () if geometry else ("no geometry: a spacing is too small or too large to be true",)


def _plane_of(dataset: Dataset) -> tuple[Plane | None, tuple[str, ...]]:
    """Where one frame lies, or None with the reason where the file says too little (PS3.3 C.7.6.2.1.1)."""
    position, orientation, spacing = (
        numbers_of(dataset, key) for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    if (len(position), len(orientation), len(spacing)) == (0, 0, 0):
        return None, ()
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2) or min(spacing) <= 0:
        return None, ("no geometry: position, orientation or pixel spacing is absent or zero",)
    if reason := _without_place(dataset):
        return None, (f"no geometry: {reason}",)
    along_row, down_column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm([along_row, down_column], axis=1)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(along_row @ down_column) > 1e-3:
        return None, ("no geometry: the two directions of the image are not at right angles",)
    # Pixel spacing names the distance of rows first, then that of columns (PS3.3 10.7.1.3).
    columns = (along_row * spacing[1], down_column * spacing[0], np.cross(along_row, down_column), position)
    return np.stack(columns, axis=1), ()


def stack_of(planes: Sequence[Plane]) -> tuple[Geometry | str, list[int]]:
    """The even stack that frames make, or in words why they make none.

    Frames may be shifted sideways by equal steps, as those of a tilted gantry are: slices count along these steps.

    Args:
        planes: of at least two frames, in the order of the file.

    Returns:
        The geometry, and which slice each frame is, counted along the normal of the frames. Without a geometry the
        slices are in the order of the file.
    """
    as_filed = list(range(len(planes)))
    every = np.stack(planes)
    in_plane = every[:, :, :2]
    sizes = np.linalg.norm(in_plane[0], axis=0)
    if (np.abs(in_plane - in_plane[0]) > SAME_DIRECTION * sizes).any():
        return "the frames differ in direction or in the size of their pixels", as_filed
    normal = planes[0][:, 2]
    along = every[:, :, 3] @ normal
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    if gaps.min() <= EVEN * gaps.max():
        return "several frames lie at one place, as echoes, phases and times do", as_filed
    positions = every[order, :, 3]
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    off = np.linalg.norm(positions - (positions[0] + np.arange(len(planes))[:, None] * step), axis=1).max()
    if off > EVEN * (step @ normal):
        return "the frames are not evenly spaced", as_filed
    if step @ normal < STEEPEST * np.linalg.norm(step):
        return "the frames are shifted sideways by more than they are apart", as_filed
    geometry = _spanned(every[order[0]], step)
    return geometry or "a spacing is too small or too large to be true", np.argsort(order).tolist()


def _stated_sides(dataset: Dataset) -> tuple[str, str] | None:
    """To which sides of the patient a row and a column of pixels run, by their first letters (PS3.3 C.7.6.1.1.1).

    A radiograph has no position in the patient, but may say this. An animal's letters mean other directions.
    """
    if _is_of_an_animal(dataset):
        return None
    said = dataset.get("PatientOrientation")
    if not hasattr(said, "append") or len(said) != 2:  # one value alone comes as itself, of any type
        return None
    across, down = (str(value)[:1] for value in said)
    axes = [next((axis for axis in ("LR", "AP", "HF") if letter and letter in axis), None) for letter in (across, down)]
    return None if None in axes or axes[0] == axes[1] else (across, down)


def _spanned(plane: Plane, step: NDArray[np.float64]) -> Geometry | None:
    affine = np.eye(4)
    affine[:3], affine[:3, 2] = plane, step
    try:
        return Geometry(affine)
    except InputError:
        return None


def _without_place(dataset: Dataset) -> str | None:
    """Why its position does not say where in a person a pixel lies, though there is one."""
    if _is_of_an_animal(dataset):
        return "the axes of an animal are called otherwise"  # PS3.3 C.7.6.2.1.1
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        # Siemens tiles all slices of a volume into one picture; its position belongs to no pixel of it.
        return "the picture is a mosaic of slices"
    return None


def _is_of_an_animal(dataset: Dataset) -> bool:
    return bool(dataset.get("AnatomicalOrientationType") == "QUADRUPED")
