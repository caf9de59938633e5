"""The anatomy of one simulated abdomen at the height of the kidneys, in Hounsfield units.

Unenhanced CT; all tissue values and sizes are drawn for every patient within `HU_RANGES` and around a mean body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from overread.data.phantom.space import THICKNESS_MM, Canvas, Grid, Space, Tissue, Volume

HU_RANGES: Mapping[Tissue, tuple[float, float]] = MappingProxyType(
    {
        Tissue.FAT: (-115.0, -92.0),
        Tissue.MUSCLE: (48.0, 60.0),
        Tissue.PANCREAS: (34.0, 44.0),
        Tissue.LIVER: (52.0, 66.0),
        Tissue.SPLEEN: (44.0, 52.0),
        Tissue.KIDNEY: (28.0, 36.0),
        Tissue.BLOOD: (36.0, 44.0),
        Tissue.URINE: (0.0, 10.0),
        Tissue.BILE: (4.0, 14.0),
        Tissue.BOWEL_WALL: (36.0, 46.0),
        Tissue.BOWEL_CONTENT: (10.0, 35.0),
        Tissue.MARROW: (140.0, 220.0),
        Tissue.BONE: (450.0, 750.0),
        Tissue.NERVE: (24.0, 34.0),
        Tissue.SKIN: (-10.0, 20.0),
    }
)
"""Between which values the mean of a tissue is drawn, once for every patient, in HU."""

_RIGHT, _LEFT = -1.0, 1.0
_CAVITY = (128.0, 84.0)
_WALL_MM = 13.0
_LONG = 1e4  # half the length of what goes through all slices


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One patient before the scanner.

    Args:
        hu: `(slice, row, column)`, Hounsfield units.
        tissue: `(slice, row, column)`, the `Tissue` that fills most of a voxel.
        means: the patient's mean HU of every tissue.
    """

    hu: Volume
    tissue: NDArray[np.uint8]
    means: Mapping[Tissue, float]


class _Painter:
    """What every organ needs while one patient is painted."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.rng = rng
        self.fat_mm = rng.uniform(7, 30)
        self.space = _space(grid, rng, half_width_mm=_CAVITY[0] + _WALL_MM + self.fat_mm)
        self.canvas = Canvas(grid.shape)
        self.means = {tissue: float(rng.uniform(*limits)) for tissue, limits in HU_RANGES.items()}
        self.mottle = _field(self.canvas.hu.shape, rng, step_mm=6.0, spacing_mm=grid.spacing_mm)
        self.inside = self.space.ellipsoid((0, 0, 0), (_CAVITY[0] - 2, _CAVITY[1] - 2, _LONG), power=2.4)
        self.cavity = self.space.ellipsoid((0, 0, 0), (*_CAVITY, _LONG), power=2.4)

    def paint(self, cover: Volume, tissue: Tissue, *, texture_hu: float = 0.0) -> None:
        """Paint a tissue with its mean of this patient and some texture."""
        self.canvas.paint(cover, self.means[tissue] + texture_hu * self.mottle, tissue)

    def around(self, value: float, spread: float) -> float:
        """A value that differs a little between patients."""
        return value + float(self.rng.uniform(-spread, spread))


def abdomen(grid: Grid, rng: np.random.Generator) -> Anatomy:
    """Draw one patient and paint all organs.

    Args:
        grid: the voxels; z = 0 mm is the height of the kidneys' centre.
        rng: decides about everything that differs between patients.

    Returns:
        The patient without any lesion, cyst or calcification.
    """
    painter = _Painter(grid, rng)
    _wall(painter)
    _bowel(painter)
    _stomach(painter)
    _liver(painter)
    _spleen(painter)
    for side in (_RIGHT, _LEFT):
        _kidney(painter, side)
    _vessels(painter)
    _muscles(painter)
    _spine(painter)
    for side in (_RIGHT, _LEFT):
        _ribs(painter, side)
    if rng.random() < 0.5:
        _table(painter)
    return Anatomy(painter.canvas.hu, painter.canvas.tissue, MappingProxyType(painter.means))


def _space(grid: Grid, rng: np.random.Generator, *, half_width_mm: float) -> Space:
    """Shift, turn, scale and gently bend the patient: where each voxel lies in the atlas."""
    z = grid.z_mm.reshape(-1, 1, 1)
    widest = 181.0 / half_width_mm
    scale_x, scale_y = min(rng.uniform(0.9, 1.08), widest), min(rng.uniform(0.9, 1.08), 1.12 * widest)
    shift_x, shift_y, turn = rng.uniform(-7, 7), rng.uniform(-9, 3), np.radians(rng.uniform(-4, 4))
    x = grid.in_plane_mm[None, None, :] - np.float32(shift_x)
    y = grid.in_plane_mm[None, :, None] - np.float32(shift_y)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    bend_x, bend_y = (2.2 * _field(grid.shape, rng, step_mm=55.0, spacing_mm=grid.spacing_mm) for _ in range(2))
    return Space(
        x=(cos * x + sin * y) / np.float32(scale_x) + bend_x,
        y=(cos * y - sin * x) / np.float32(scale_y) + bend_y,
        z=z,
        edge_mm=grid.spacing_mm,
    )


def _field(shape: tuple[int, int, int], rng: np.random.Generator, *, step_mm: float, spacing_mm: float) -> Volume:
    """A smooth random field `(plane, row, column)` with mean 0 and deviation 1, bumps about `step_mm` wide."""
    weights = [
        _weights(count, between_mm / step_mm)
        for count, between_mm in zip(shape, (THICKNESS_MM, spacing_mm, spacing_mm), strict=True)
    ]
    field = rng.standard_normal(tuple(weight.shape[1] for weight in weights)).astype(np.float32)
    for weight in weights:  # each turns one axis to the end, so that after three they stand as before
        field = np.tensordot(field, weight, axes=(0, 1))
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), np.float32)


def _weights(count: int, step: float) -> NDArray[np.float32]:
    """`(count, node)`: how near each of `count` points, `step` apart, is to the nodes at -1, 0, 1, 2 ..."""
    nodes = np.arange(-1, int(np.ceil((count - 1) * step)) + 2)
    near = np.exp(-0.5 * ((np.arange(count)[:, None] * step - nodes) / 0.65) ** 2)
    return np.asarray(near / near.sum(axis=1, keepdims=True), np.float32)


def _wall(p: _Painter) -> None:
    """Skin, subcutaneous fat, the muscle of the wall, and the fat between the organs."""
    half_x, half_y = _CAVITY[0] + _WALL_MM, _CAVITY[1] + _WALL_MM + 6
    for extra, tissue in ((p.fat_mm, Tissue.SKIN), (p.fat_mm - 2.5, Tissue.FAT), (0.0, Tissue.MUSCLE)):
        front = 0.75 * extra
        p.paint(p.space.ellipsoid((0, 4, 0), (half_x + extra, half_y + front, _LONG), power=2.3), tissue, texture_hu=4)
    p.paint(p.cavity, Tissue.FAT, texture_hu=7)


def _loop(p: _Painter, centre: tuple[float, float, float], half_axes: tuple[float, float, float], turn: float) -> None:
    """One bowel loop: wall, and fluid with gas above it, or stool."""
    outer = p.space.ellipsoid(centre, half_axes, turn=turn) * p.cavity
    inner = p.space.ellipsoid(centre, (half_axes[0] - 2.5, half_axes[1] - 2.5, half_axes[2] - 2.5), turn=turn)
    inner = inner * p.cavity
    p.paint(outer, Tissue.BOWEL_WALL)
    p.paint(inner, Tissue.BOWEL_CONTENT, texture_hu=6)
    kind = p.rng.random()
    if kind < 0.35:  # Gas rises to the front of a patient who lies on the back: a straight level.
        level = centre[1] + half_axes[1] * p.rng.uniform(-0.5, 0.4)
        gas = inner * np.clip((level - p.space.y) / p.space.edge_mm + 0.5, 0, 1)
        p.canvas.paint(gas, -950.0, Tissue.GAS)
    elif kind < 0.6:  # Stool: gas in crumbs.
        crumbs = inner * np.clip(p.mottle - 0.5, 0, 0.8)
        p.canvas.paint(crumbs, -750.0, Tissue.GAS)


def _bowel(p: _Painter) -> None:
    """Small bowel in the middle, transverse colon in front, descending colon at the left."""
    for _ in range(int(p.rng.integers(9, 15))):
        radius = p.rng.uniform(9, 14)
        centre = (p.rng.uniform(-55, 90), p.rng.uniform(-62, -4), p.rng.uniform(-18, 18))
        _loop(p, centre, (radius * p.rng.uniform(1, 1.7), radius, p.rng.uniform(18, 40)), p.rng.uniform(-1.5, 1.5))
    for x in np.arange(-70, 90, 33):
        y = -66 + 0.0022 * x * x + p.rng.uniform(-3, 3)
        _loop(p, (float(x), float(y), p.around(-12, 12)), (20, p.around(14, 2), 26), p.around(0, 0.3))
    radius = p.around(16, 3)
    _loop(p, (p.around(106, 4), p.around(-22, 8), 0), (radius, radius, _LONG), 0)
    radius = p.around(18, 4)
    _loop(p, (p.around(-98, 4), p.around(-8, 8), -45), (radius, radius * 1.2, 48), 0)
    p.paint(p.space.ellipsoid((p.around(12, 6), -8, 8), (40, 9, 18), turn=-0.25), Tissue.PANCREAS, texture_hu=10)
    _loop(p, (-38, 4, 0), (13, 11, _LONG), 0)


def _stomach(p: _Painter) -> None:
    """The stomach, in front at the left, which leaves the slices towards the feet."""
    _loop(p, (p.around(52, 8), p.around(-44, 5), p.around(26, 12)), (p.around(42, 6), p.around(27, 4), 42), -0.35)


def _liver(p: _Painter) -> None:
    """Both lobes, the vessels in them, and mostly a gallbladder."""
    height = p.around(28, 8)
    right = p.space.ellipsoid((p.around(-78, 4), p.around(-4, 4), height), (p.around(55, 5), 68, 78))
    left = p.space.ellipsoid((p.around(-28, 8), -48, height + 6), (p.around(60, 10), p.around(27, 4), 48), turn=0.12)
    liver = np.maximum(right, left) * p.inside
    p.paint(liver, Tissue.LIVER, texture_hu=1.5)
    porta = (-42.0, -6.0, height)
    for angle in np.linspace(-2.4, 2.2, 7) + p.rng.uniform(-0.3, 0.3, 7):
        reach = p.rng.uniform(30, 58)
        middle = (
            porta[0] - 26 + 0.55 * reach * np.cos(angle),
            porta[1] + 0.55 * reach * np.sin(angle),
            p.around(height - 16, 12),
        )
        end = (
            porta[0] - 30 + reach * np.cos(angle + 0.3),
            porta[1] + reach * np.sin(angle + 0.3),
            p.around(height - 20, 35),
        )
        width = p.rng.uniform(1.8, 3.2)
        for start, stop, radius in ((porta, middle, width), (middle, end, 0.7 * width)):
            p.canvas.paint(p.space.tube(start, stop, radius) * liver, p.means[Tissue.BLOOD], Tissue.LIVER_VESSEL)
    if p.rng.random() < 0.7:
        gallbladder = p.space.ellipsoid(
            (p.around(-50, 6), p.around(-40, 5), p.around(0, 12)), (p.around(11, 3), 16, 24), turn=0.4
        )
        p.paint(gallbladder * p.inside, Tissue.BILE)


def _spleen(p: _Painter) -> None:
    """A half moon behind the stomach, along the wall."""
    centre = (p.around(98, 4), p.around(20, 4), p.around(22, 8))
    whole = p.space.ellipsoid(centre, (p.around(26, 4), p.around(44, 5), 52), turn=0.15)
    hollow = p.space.ellipsoid((centre[0] - 36, centre[1], centre[2]), (26, 34, 60))
    p.paint(whole * p.inside * (1 - hollow), Tissue.SPLEEN, texture_hu=1.5)


def _kidney(p: _Painter, side: float) -> None:
    """A kidney in its fat, its sinus open towards the spine, and in it the collecting system."""
    x, y, z = side * p.around(65, 4), p.around(38, 4), p.around(0 if side < 0 else 6, 10)
    half_x, half_y, half_z = p.around(26, 3), p.around(32, 3), p.around(56, 5)
    turn = side * p.around(0.45, 0.2)
    capsule = p.space.ellipsoid((x - side * 4, y + 3, z), (half_x + 7, half_y + 6, half_z + 12), turn=turn)
    p.paint(capsule, Tissue.FAT, texture_hu=5)
    p.paint(p.space.ellipsoid((x, y, z), (half_x, half_y, half_z), turn=turn), Tissue.KIDNEY, texture_hu=1.5)
    inward = x - side * 11
    p.paint(p.space.ellipsoid((inward, y - 3, z), (p.around(13, 2), p.around(14, 2), 34)), Tissue.FAT, texture_hu=8)
    p.paint(p.space.ellipsoid((x - side * 25, y - 6, z), (12, p.around(7, 2), 16)), Tissue.FAT, texture_hu=8)
    p.paint(p.space.ellipsoid((inward - side * 5, y - 4, z), (p.around(9, 1.5), 6, 13), turn=side * 0.3), Tissue.URINE)
    for height in (-26, -17, -9, 0, 9, 17, 26):
        angle = p.rng.uniform(-1.3, 1.3)
        calyx = (inward + side * 8 * np.cos(angle), y - 3 + 9 * np.sin(angle), z + height)
        p.paint(p.space.ellipsoid(calyx, (4.5, 4.5, 6)), Tissue.URINE)
    p.paint(p.space.ellipsoid((side * p.around(34, 2), 40, z - 60), (2.5, 2.5, 50)), Tissue.URINE)


def _vessels(p: _Painter) -> None:
    """Aorta, inferior vena cava, and the vessels of the mesentery."""
    radius = p.around(10, 1.5)
    p.paint(p.space.ellipsoid((p.around(11, 3), 24 - (radius - 10), 0), (radius, radius, _LONG)), Tissue.BLOOD)
    p.paint(p.space.ellipsoid((p.around(-18, 2), 24, 0), (12, p.around(8, 1.5), _LONG), turn=-0.2), Tissue.BLOOD)
    p.paint(p.space.ellipsoid((p.around(6, 2), 2, 0), (3.8, 3.8, _LONG)), Tissue.BLOOD)
    p.paint(p.space.ellipsoid((p.around(-8, 2), 0, 0), (5.5, 5.5, _LONG)), Tissue.BLOOD)


def _muscles(p: _Painter) -> None:
    """The muscles beside and behind the spine, and the crura in front of it."""
    for side in (_RIGHT, _LEFT):
        for centre, half_axes, turn in (
            ((side * 35, 62), (p.around(13, 2), 17), 0.0),
            ((side * 64, 80), (17, 8), side * -0.35),
            ((side * 36, 92), (p.around(29, 2), p.around(17, 2)), side * 0.1),
            ((side * 16, 36), (5, 9), side * -0.4),
        ):
            muscle = p.space.ellipsoid((*centre, 0.0), (*half_axes, _LONG), turn=turn)
            p.paint(muscle, Tissue.MUSCLE, texture_hu=6)


def _spine(p: _Painter) -> None:
    """A vertebra: body, arch, processes and canal."""
    space, scale = p.space, p.around(1, 0.07)
    gap = 0.5 + 0.5 * np.cos((space.z - p.rng.uniform(0, 36)) * (2 * np.pi / 36))  # a disc every 36 mm
    shell = space.ellipsoid((0, 52, 0), (25 * scale, 18 * scale, _LONG), power=2.3)
    core = space.ellipsoid((0, 52, 0), (22.5 * scale, 15.5 * scale, _LONG), power=2.3)
    p.paint(shell, Tissue.BONE)
    p.paint(core, Tissue.MARROW, texture_hu=14)
    p.canvas.paint(shell * np.clip(8 * gap - 6.6, 0, 1).astype(np.float32), 85.0, Tissue.NERVE)
    for side in (_RIGHT, _LEFT):
        for centre, half_axes, turn in (
            ((side * 15, 70), (5.5, 9), side * -0.2),
            ((side * 11, 84), (11, 4), side * -0.6),
            ((side * 32, 76), (16, 3.8), side * 0.2),
        ):
            bone = space.ellipsoid((*centre, 0.0), (*half_axes, _LONG), turn=turn)
            p.canvas.paint(bone, 0.55 * p.means[Tissue.BONE], Tissue.BONE)
    p.canvas.paint(space.ellipsoid((0, 99, 0), (3.6, 13, _LONG)), 0.6 * p.means[Tissue.BONE], Tissue.BONE)
    p.paint(space.ellipsoid((0, 75, 0), (10, 7.5, _LONG)), Tissue.NERVE)


def _ribs(p: _Painter, side: float) -> None:
    """The lowest ribs, cut aslant in the wall; they come forward as the slices go to the feet."""
    for degrees in (-4.0, 26.0, 50.0):
        angle = np.radians(p.around(degrees, 4) + 0.45 * p.space.z).astype(np.float32)
        x = side * (_CAVITY[0] + 5) * np.cos(angle)
        y = 2 + (_CAVITY[1] + 8) * np.sin(angle)
        # The tangent of the wall's ellipse at that angle.
        turn = np.arctan2((_CAVITY[1] + 8) * np.cos(angle), -side * (_CAVITY[0] + 5) * np.sin(angle))
        p.paint(p.space.ellipsoid((x, y, 0.0), (12, 4.6, _LONG), turn=turn), Tissue.BONE)
        p.paint(p.space.ellipsoid((x, y, 0.0), (9.5, 2.4, _LONG), turn=turn), Tissue.MARROW, texture_hu=10)


def _table(p: _Painter) -> None:
    """The table top: a thin shell around foam, curved as the patient's back."""
    back = 4 + _CAVITY[1] + _WALL_MM + 6 + 0.75 * p.fat_mm
    below = p.space.y - (back + 5) + 0.0009 * p.space.x**2
    free = p.canvas.tissue == Tissue.AIR
    for top_mm, thick_mm, hu in ((0.0, 14.0, -900.0), (0.0, 2.5, 0.0), (12.0, 2.5, 0.0)):
        layer = np.clip((thick_mm / 2 - np.abs(below - top_mm - thick_mm / 2)) / p.space.edge_mm + 0.5, 0, 1)
        p.canvas.paint((layer * free).astype(np.float32), hu, Tissue.TABLE)
