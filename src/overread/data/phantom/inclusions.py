"""What lies in the organs of some simulated patients: tumours, stones, and harmless things that resemble them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from overread.data.phantom.anatomy import Anatomy
from overread.data.phantom.space import THICKNESS_MM, Grid, Tissue, Volume

Kind = Literal["stone", "tumour", "cyst", "calcification", "dense content"]
LESIONS: tuple[Kind, ...] = ("stone", "tumour")
"""The kinds that are marked and give an image its class; the others are harmless."""

DIAMETER_MM = {
    "stone": (3.0, 15.0),
    "tumour": (8.0, 40.0),
    "cyst": (8.0, 24.0),
    "calcification": (2.5, 5.0),
    "dense content": (4.0, 9.0),
}
STONE_HU = (300.0, 1200.0)
TUMOUR_CONTRAST_HU = (10.0, 35.0)

_YIELDING = (Tissue.FAT, Tissue.URINE, Tissue.LIVER_VESSEL)
_FINE_MM = 0.6
_FINE_PLANES = 7


@dataclass(frozen=True, eq=False)
class Inclusion:
    """One round thing in an organ.

    Args:
        kind: what it is.
        organ: the tissue that it lies in.
        centre_mm: patient (x, y, z).
        diameter_mm: of the ball of the same size, at half height of its border.
        hu: its Hounsfield units.
        contrast_hu: its Hounsfield units above those of the organ; negative for a darker one.
        border_mm: how slowly it passes into the organ; 0.2 is sharp.
        stretch: factors on the half axes along x, y and z, with product 1.
        bumps: `(bump, 5)`; direction x, y, z, height as a share of the radius, phase.
    """

    kind: Kind
    organ: Tissue
    centre_mm: tuple[float, float, float]
    diameter_mm: float
    hu: float
    contrast_hu: float
    border_mm: float
    stretch: tuple[float, float, float]
    bumps: NDArray[np.float64]

    @property
    def is_lesion(self) -> bool:
        """Whether it is marked, and gives an image its class."""
        return self.kind in LESIONS

    def cover(self, grid: Grid, tissue: NDArray[np.uint8]) -> Volume:
        """How much of every voxel it fills.

        Args:
            grid: the voxels.
            tissue: `(slice, row, column)`; a tumour or cyst grows into fat, not into muscle, bone or another organ.

        Returns:
            `(slice, row, column)` in [0, 1], the mean over finer points.
        """
        reach = 0.5 * self.diameter_mm * 1.5 * max(self.stretch) + 4 * self.border_mm + grid.spacing_mm
        columns = _near(grid.in_plane_mm, self.centre_mm[0], reach)
        rows = _near(grid.in_plane_mm, self.centre_mm[1], reach)
        slices = _near(grid.z_mm, self.centre_mm[2], reach + THICKNESS_MM)
        cover = np.zeros(grid.shape, np.float32)
        if not (len(columns) and len(rows) and len(slices)):
            return cover
        fine = int(np.ceil(grid.spacing_mm / _FINE_MM))
        x = _finer(grid.in_plane_mm[columns], grid.spacing_mm, fine)[None, None, :] - self.centre_mm[0]
        y = _finer(grid.in_plane_mm[rows], grid.spacing_mm, fine)[None, :, None] - self.centre_mm[1]
        z = _finer(grid.z_mm[slices], THICKNESS_MM, _FINE_PLANES)[:, None, None] - self.centre_mm[2]
        filled = self._inside(x / self.stretch[0], y / self.stretch[1], z / self.stretch[2])
        blocks = filled.reshape(len(slices), _FINE_PLANES, len(rows), fine, len(columns), fine)
        cover[np.ix_(slices, rows, columns)] = blocks.mean(axis=(1, 3, 5))
        if self.kind in ("tumour", "cyst"):
            cover *= np.isin(tissue, (self.organ, *_YIELDING))
        return cover

    def _inside(self, x: Volume, y: Volume, z: Volume) -> Volume:
        distance = np.sqrt(x * x + y * y + z * z) + np.float32(1e-3)
        radius = np.ones_like(distance)
        for *direction, height, phase in self.bumps.astype(np.float32):
            along = (direction[0] * x + direction[1] * y + direction[2] * z) / distance
            radius += height * np.cos(3 * along + phase)
        depth = 0.5 * self.diameter_mm * radius - distance
        return np.asarray(1 / (1 + np.exp(-np.clip(depth / self.border_mm, -30, 30))), np.float32)


def draw_inclusions(anatomy: Anatomy, grid: Grid, lesion: Kind | None, rng: np.random.Generator) -> list[Inclusion]:
    """Draw what a patient has.

    Args:
        anatomy: the patient.
        grid: the voxels.
        lesion: "stone" or "tumour" for a patient with that disease, None for a normal one.
        rng: decides about numbers, places, sizes and shapes.

    Returns:
        At least one lesion of that kind, the first one well inside the slices, and harmless things in any patient.
    """
    found: list[Inclusion] = []
    if lesion == "stone":
        for _ in range(int(rng.integers(1, 4))):
            # The first is large enough to be seen at this pixel size; others may hide.
            smallest_mm = DIAMETER_MM["stone"][0] if found else max(4.5, 1.5 * grid.spacing_mm)
            found.extend(_apart(_stone(anatomy, grid, rng, smallest_mm=smallest_mm), found))
    elif lesion == "tumour":
        for _ in range(1 + int(rng.random() < 0.4)):
            found.extend(_apart(_tumour(anatomy, grid, rng), found))
    for organ, chance in ((Tissue.KIDNEY, 0.4), (Tissue.LIVER, 0.2)):
        if rng.random() < chance:
            found.extend(_apart(_cyst(anatomy, grid, organ, rng), found))
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            found.extend(_calcification(anatomy, grid, rng))
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 3))):
            found.extend(_dense_content(anatomy, grid, rng))
    return found


def _stone(anatomy: Anatomy, grid: Grid, rng: np.random.Generator, *, smallest_mm: float) -> list[Inclusion]:
    diameter = float(np.exp(rng.uniform(np.log(smallest_mm), np.log(DIAMETER_MM["stone"][1]))))
    # The smallest fill a part of a voxel only; those that are seen at all are dense.
    least = STONE_HU[0] + 600 * float(np.clip((8 - diameter) / 5, 0, 1))
    hu = float(rng.uniform(least, STONE_HU[1]))
    inside = (anatomy.tissue == Tissue.URINE) & _near_kidney(anatomy)
    place = _place(inside, grid, rng, depth_mm=0.0, jitter_mm=1.2)
    return (
        [] if place is None else [_round("stone", place, anatomy, rng, organ=Tissue.URINE, diameter_mm=diameter, hu=hu)]
    )


def _tumour(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> list[Inclusion]:
    organ = Tissue.LIVER if rng.random() < 0.6 else Tissue.KIDNEY
    least_mm, most_mm = DIAMETER_MM["tumour"]
    if organ is Tissue.KIDNEY:
        most_mm *= 0.8
    room = 0.8 if organ is Tissue.LIVER else 0.45  # how much of it the organ holds; a kidney's tumour bulges
    diameter = float(rng.uniform(least_mm, most_mm))
    inside = anatomy.tissue == organ
    if organ is Tissue.LIVER:
        inside |= anatomy.tissue == Tissue.LIVER_VESSEL
    place = None
    while place is None and diameter >= least_mm:
        depth_mm = max(room * diameter / 2, 4.5)  # what is left of the organ around its vessels is thinner
        place = _place(inside, grid, rng, depth_mm=depth_mm, jitter_mm=2.0)
        tried, diameter = diameter, 0.85 * diameter
    if place is None:
        return []
    diameter = tried
    least = float(np.clip(40 - 0.7 * diameter, TUMOUR_CONTRAST_HU[0], 32))  # the smaller, the clearer
    # Without contrast medium a kidney's tumour is denser than it, a liver's mostly less dense.
    sign = 1 if organ is Tissue.KIDNEY or rng.random() < 0.1 else -1
    contrast = sign * float(rng.uniform(least, TUMOUR_CONTRAST_HU[1]))
    return [
        _round("tumour", place, anatomy, rng, organ=organ, diameter_mm=diameter, hu=anatomy.means[organ] + contrast)
    ]


def _cyst(anatomy: Anatomy, grid: Grid, organ: Tissue, rng: np.random.Generator) -> list[Inclusion]:
    diameter = float(rng.uniform(*DIAMETER_MM["cyst"]))
    depth_mm = (-0.1 if organ is Tissue.KIDNEY else 0.6) * diameter / 2
    place = _place(anatomy.tissue == organ, grid, rng, depth_mm=max(depth_mm, 0.0), jitter_mm=2.0, anywhere=True)
    return (
        []
        if place is None
        else [_round("cyst", place, anatomy, rng, organ=organ, diameter_mm=diameter, hu=float(rng.uniform(-4, 8)))]
    )


def _calcification(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> list[Inclusion]:
    """A fleck in the wall of the aorta, the large vessel left of the midline."""
    blood = anatomy.tissue == Tissue.BLOOD
    vessels, count = ndimage.label(blood)
    if not count:
        return []
    centres = ndimage.center_of_mass(blood, vessels, range(1, count + 1))
    sizes = ndimage.sum_labels(blood, vessels, range(1, count + 1))
    middle = np.median(np.nonzero(anatomy.tissue == Tissue.NERVE)[2]) if (anatomy.tissue == Tissue.NERVE).any() else 0
    left = [n for n in range(count) if centres[n][2] > middle] or list(range(count))
    aorta = vessels == max(left, key=lambda n: sizes[n]) + 1
    rim = aorta & ~ndimage.binary_erosion(aorta, np.ones((1, 3, 3)))
    place = _place(rim, grid, rng, depth_mm=0.0, jitter_mm=2.0, anywhere=True)
    if place is None:
        return []
    diameter, hu = float(rng.uniform(*DIAMETER_MM["calcification"])), float(rng.uniform(500, 1100))
    return [_round("calcification", place, anatomy, rng, organ=Tissue.BLOOD, diameter_mm=diameter, hu=hu)]


def _dense_content(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> list[Inclusion]:
    place = _place(anatomy.tissue == Tissue.BOWEL_CONTENT, grid, rng, depth_mm=4.0, jitter_mm=2.0, anywhere=True)
    if place is None:
        return []
    diameter, hu = float(rng.uniform(*DIAMETER_MM["dense content"])), float(rng.uniform(150, 500))
    return [_round("dense content", place, anatomy, rng, organ=Tissue.BOWEL_CONTENT, diameter_mm=diameter, hu=hu)]


def _round(
    kind: Kind,
    place: tuple[float, float, float],
    anatomy: Anatomy,
    rng: np.random.Generator,
    *,
    organ: Tissue,
    diameter_mm: float,
    hu: float,
) -> Inclusion:
    stretch = np.exp(rng.uniform(-0.16, 0.16, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    direction = rng.standard_normal((3, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    uneven = {"tumour": 0.08, "cyst": 0.02}.get(kind, 0.06)
    return Inclusion(
        kind=kind,
        organ=organ,
        centre_mm=place,
        diameter_mm=diameter_mm,
        hu=hu,
        contrast_hu=hu - anatomy.means[organ],
        border_mm=0.4 + 0.03 * diameter_mm if kind == "tumour" else 0.2,
        stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
        bumps=np.column_stack([direction, rng.uniform(-uneven, uneven, 3), rng.uniform(0, 2 * np.pi, 3)]),
    )


def _near_kidney(anatomy: Anatomy) -> NDArray[np.bool_]:
    """Where a kidney is not far in the same slice, so that the ureter below it is left out."""
    return np.asarray(ndimage.maximum_filter(anatomy.tissue == Tissue.KIDNEY, size=(1, 5, 5)), bool)


def _place(
    inside: NDArray[np.bool_],
    grid: Grid,
    rng: np.random.Generator,
    *,
    depth_mm: float,
    jitter_mm: float,
    anywhere: bool = False,
) -> tuple[float, float, float] | None:
    """A point at least `depth_mm` inside, in a slice that is not the first or last; None where there is none."""
    margin = 0 if anywhere or grid.slices < 3 else 1
    order = rng.permutation(np.arange(margin, grid.slices - margin))
    for index in order:
        depth = ndimage.distance_transform_edt(inside[index], sampling=grid.spacing_mm)
        rows, columns = np.nonzero(depth > depth_mm)
        if len(rows):
            pick = int(rng.integers(len(rows)))
            x, y = grid.in_plane_mm[columns[pick]], grid.in_plane_mm[rows[pick]]
            return float(x), float(y), float(grid.z_mm[index] + rng.uniform(-jitter_mm, jitter_mm))
    return None


def _apart(new: list[Inclusion], others: list[Inclusion]) -> list[Inclusion]:
    """Those of the new ones that touch no other."""

    def clear(a: Inclusion, b: Inclusion) -> bool:
        gap = float(np.linalg.norm(np.subtract(a.centre_mm, b.centre_mm)))
        return gap > 0.6 * (a.diameter_mm + b.diameter_mm) + 5

    return [one for one in new if all(clear(one, other) for other in others)]


def _near(positions: NDArray[np.float32], centre: float, reach: float) -> NDArray[np.intp]:
    return np.flatnonzero(np.abs(positions - centre) <= reach)


def _finer(positions: NDArray[np.float32], step_mm: float, parts: int) -> NDArray[np.float32]:
    """Points between the positions: `parts` to each, evenly over its `step_mm`."""
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * step_mm
    return np.asarray((positions[:, None] + offsets).reshape(-1), np.float32)
