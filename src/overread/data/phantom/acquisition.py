"""What the scanner makes of a simulated patient: blur, noise, whole Hounsfield units, and the outline of lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from overread.data.phantom.anatomy import Anatomy, abdomen
from overread.data.phantom.inclusions import Inclusion, Kind, draw_inclusions
from overread.data.phantom.space import Grid, Volume

NOISE_HU = (3.0, 7.0)
"""Between which values the noise of a patient is drawn: standard deviation in the body's centre, at 3 mm a pixel."""

_BLUR_PX = 0.45
_SEEN_STONE_HU = 100.0
_SEEN_TUMOUR_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Scan:
    """One simulated patient after the scanner.

    Args:
        grid: where the voxels lie.
        hu: int16 `(slice, row, column)`, Hounsfield units.
        anatomy: the patient before the scanner, without inclusions.
        inclusions: what lies in the organs.
        masks: one `(slice, row, column)` for every inclusion; empty (all False) for harmless ones.
        noise_hu: standard deviation of the noise in the middle of the image.
    """

    grid: Grid
    hu: NDArray[np.int16]
    anatomy: Anatomy
    inclusions: tuple[Inclusion, ...]
    masks: tuple[NDArray[np.bool_], ...]
    noise_hu: float


def scan_patient(grid: Grid, lesion: Kind | None, rng: np.random.Generator) -> Scan:
    """Simulate one patient.

    Args:
        grid: where the voxels lie.
        lesion: "stone" or "tumour" for a patient with that disease, None for a normal one.
        rng: decides about all that differs between patients.
    """
    anatomy = abdomen(grid, rng)
    inclusions = tuple(draw_inclusions(anatomy, grid, lesion, rng))
    hu = anatomy.hu.copy()
    covers = [inclusion.cover(grid, anatomy.tissue) for inclusion in inclusions]
    for inclusion, cover in zip(inclusions, covers, strict=True):
        hu += cover * (np.float32(inclusion.hu) - hu)
    sharp = _blur(hu)
    masks = tuple(_outline(inclusion, cover, sharp) for inclusion, cover in zip(inclusions, covers, strict=True))
    noise_hu = float(rng.uniform(*NOISE_HU)) * float(np.sqrt(3.0 / grid.spacing_mm))
    noisy = np.clip(sharp + noise_hu * _noise(grid, rng), -1024, 3071)
    return Scan(grid, np.rint(noisy).astype(np.int16), anatomy, inclusions, masks, noise_hu)


def _blur(volume: Volume) -> Volume:
    return np.asarray(ndimage.gaussian_filter(volume, (0, _BLUR_PX, _BLUR_PX), mode="nearest"), np.float32)


def _outline(inclusion: Inclusion, cover: Volume, image: Volume) -> NDArray[np.bool_]:
    """What a reader would outline: in each slice that shows the lesion, where it is at half its height or above.

    A slice shows a tumour that fills half of a voxel or more, and a stone that makes a voxel denser than any soft
    tissue, by itself; `image` is the blurred one without noise.
    """
    if not inclusion.is_lesion:
        return np.zeros(cover.shape, bool)
    seen = _blur(cover)
    peak = seen.max(axis=(1, 2), keepdims=True)
    if inclusion.kind == "tumour":
        return np.asarray((seen >= 0.5 * peak) & (peak >= _SEEN_TUMOUR_SHARE))
    outline = (seen >= 0.5 * peak) & (peak * inclusion.contrast_hu >= _SEEN_STONE_HU)
    densest = np.where(outline, image, -np.inf).max(axis=(1, 2), keepdims=True)
    return np.asarray(outline & (densest >= _SEEN_STONE_HU))


def _noise(grid: Grid, rng: np.random.Generator) -> Volume:
    """Noise as filtered back projection leaves it, deviation 1 in the middle and less towards the skin.

    Its power rises with the frequency and is cut off by the reconstruction kernel (Riederer, Pelizzari and Chesler
    1978, Phys Med Biol 23:446), which gives it the grain of CT.
    """
    rows, columns = np.meshgrid(np.fft.fftfreq(grid.size), np.fft.rfftfreq(grid.size), indexing="ij")
    frequency = np.hypot(rows, columns)
    transfer = np.sqrt(frequency) * np.exp(-((frequency / 0.28) ** 2))
    white = rng.standard_normal(grid.shape)
    grain = np.fft.irfft2(np.fft.rfft2(white) * transfer, s=(grid.size, grid.size))
    grain /= grain.std()
    along = grid.in_plane_mm / 130
    fall_off = 0.6 + 0.4 * np.exp(-(along[:, None] ** 2 + along[None, :] ** 2))
    return np.asarray(grain * fall_off, np.float32)
