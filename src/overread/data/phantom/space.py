"""Grid and Canvas: where the voxels of a simulated patient lie, and the brush that paints tissue on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
Scalar = float | NDArray[np.float32]

FIELD_MM = 384.0
THICKNESS_MM = 5.0


class Tissue(IntEnum):
    """What a voxel mostly consists of."""

    AIR = 0
    TABLE = 1
    SKIN = 2
    FAT = 3
    MUSCLE = 4
    BOWEL_WALL = 5
    BOWEL_CONTENT = 6
    GAS = 7
    PANCREAS = 8
    LIVER = 9
    LIVER_VESSEL = 10
    BILE = 11
    SPLEEN = 12
    KIDNEY = 13
    URINE = 14
    BLOOD = 15
    BONE = 16
    MARROW = 17
    NERVE = 18


@dataclass(frozen=True)
class Grid:
    """The voxels of one patient: square axial slices without gaps, from head to foot.

    Args:
        size: rows and columns.
        slices: how many slices.
        top_mm: patient z of the centre of the first slice (the one nearest to the head).
    """

    size: int
    slices: int
    top_mm: float = 0.0

    @property
    def spacing_mm(self) -> float:
        """Distance of neighbouring pixel centres; the field of view is 384 mm wide whatever the size."""
        return FIELD_MM / self.size

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slice, row, column)."""
        return self.slices, self.size, self.size

    @property
    def in_plane_mm(self) -> NDArray[np.float32]:
        """`(column,)` patient x of the pixel centres; patient y of the rows is the same, as the field is centred."""
        return ((np.arange(self.size) - (self.size - 1) / 2) * self.spacing_mm).astype(np.float32)

    @property
    def z_mm(self) -> NDArray[np.float32]:
        """`(slice,)` patient z of the slice centres."""
        return (self.top_mm - np.arange(self.slices) * THICKNESS_MM).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Space:
    """The place of every voxel in the atlas, the body of mean size in which the anatomy is described.

    Args:
        x: `(plane, row, column)`, mm to the patient's left.
        y: `(plane, row, column)`, mm to the back.
        z: `(plane, 1, 1)`, mm to the head.
        edge_mm: how wide the transition at an edge is: one pixel.
    """

    x: Volume
    y: Volume
    z: Volume
    edge_mm: float

    def ellipsoid(
        self,
        centre: tuple[Scalar, Scalar, Scalar],
        half_axes: tuple[float, float, float],
        *,
        turn: Scalar = 0.0,
        power: float = 2.0,
    ) -> Volume:
        """How much of every voxel an ellipsoid covers.

        Args:
            centre: (x, y, z) in atlas mm; x and y may differ by plane, as `(plane, 1, 1)`.
            half_axes: along x, y, z before the turn, in mm.
            turn: in-plane turn in radians, from x to y; may differ by plane.
            power: 2 for an ellipsoid, more for a boxier one.

        Returns:
            `(plane, row, column)` in [0, 1], 0.5 on the surface.
        """
        rows, columns = self._window(centre, max(half_axes[:2]))
        dx, dy = self.x[:, rows, columns] - centre[0], self.y[:, rows, columns] - centre[1]
        cos, sin = np.cos(turn, dtype=np.float32), np.sin(turn, dtype=np.float32)
        along = (cos * dx + sin * dy) / np.float32(half_axes[0])
        across = (cos * dy - sin * dx) / np.float32(half_axes[1])
        up = (self.z - centre[2]) / np.float32(half_axes[2])
        squares = along * along, across * across, up * up
        distance = np.sqrt(sum(squares)) if power == 2.0 else sum(q ** (power / 2) for q in squares) ** (1 / power)
        scale = np.float32(np.sqrt(half_axes[0] * half_axes[1]) / self.edge_mm)
        cover = np.zeros(self.x.shape, np.float32)
        cover[:, rows, columns] = np.clip((1 - distance) * scale + 0.5, 0, 1)
        return cover

    def tube(self, start: tuple[float, float, float], end: tuple[float, float, float], radius_mm: float) -> Volume:
        """How much of every voxel a straight vessel with round ends covers, as `(plane, row, column)` in [0, 1]."""
        axis = np.subtract(end, start).astype(np.float32)
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        rows, columns = self._window(middle, float(np.abs(axis[:2]).max()) / 2 + radius_mm)
        dx, dy = self.x[:, rows, columns] - np.float32(start[0]), self.y[:, rows, columns] - np.float32(start[1])
        dz = self.z - np.float32(start[2])
        share = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / np.float32(axis @ axis), 0, 1)
        off = np.sqrt((dx - share * axis[0]) ** 2 + (dy - share * axis[1]) ** 2 + (dz - share * axis[2]) ** 2)
        cover = np.zeros(self.x.shape, np.float32)
        cover[:, rows, columns] = np.clip((np.float32(radius_mm) - off) / np.float32(self.edge_mm) + 0.5, 0, 1)
        return cover

    @cached_property
    def _limits(self) -> tuple[tuple[Volume, Volume], tuple[Volume, Volume]]:
        """Least and greatest atlas x of every column, and y of every row."""
        return (self.x.min(axis=(0, 1)), self.x.max(axis=(0, 1))), (self.y.min(axis=(0, 2)), self.y.max(axis=(0, 2)))

    def _window(self, centre: tuple[Scalar, ...], reach_mm: float) -> tuple[slice, slice]:
        """Rows and columns outside of which nothing is nearer than `reach_mm`; most organs are small."""
        (least_x, most_x), (least_y, most_y) = self._limits
        return _span(least_y, most_y, centre[1], reach_mm + self.edge_mm), _span(
            least_x, most_x, centre[0], reach_mm + self.edge_mm
        )


def _span(least: Volume, most: Volume, centre: Scalar, reach_mm: float) -> slice:
    near = np.flatnonzero((least <= np.max(centre) + reach_mm) & (most >= np.min(centre) - reach_mm))
    return slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)


class Canvas:
    """Hounsfield units and tissues that are painted over one another, background first."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.hu: Volume = np.full(shape, -1000.0, np.float32)
        self.tissue: NDArray[np.uint8] = np.zeros(shape, np.uint8)

    def paint(self, cover: Volume, hu: Scalar, tissue: Tissue) -> None:
        """Lay a tissue over what is there.

        Args:
            cover: `(plane, row, column)` in [0, 1], how much of every voxel it fills.
            hu: its Hounsfield units, one number or one for every voxel.
            tissue: its name, for the voxels that it fills by half or more.
        """
        self.hu += cover * (hu - self.hu)
        np.copyto(self.tissue, np.uint8(tissue), where=cover >= 0.5)
