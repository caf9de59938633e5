"""Images that show nearly the same picture: candidates by a perceptual hash, confirmed on the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from overread.image import Image

SIDE_PX = 32
ALIKE = 0.975
"""The correlation of two thumbnails from which on they show nearly the same picture.

Measured over all pairs of real images. Of 5,232 chest radiographs of 28 x 28 px, 1,817 pairs have hashes that differ
in at most 6 of 64 bits, nearly all of other patients: a hash alone finds nothing there. 29 pairs reach this
correlation: 28 equal ones and one that looks like one child twice (0.979); the next (0.973) shows two. Of 624 breast
ultrasounds 136 do: all that were looked at are one picture with and without callipers, or two of one sweep. Of 532
microscopies and 292 blood smears one pair each does (two layers of one embryo, 0.977), the next having 0.65 and 0.68;
of 1,286 adrenal glands none (0.974). Copies with another brightness, or saved as a JPEG of quality 50, keep 0.99 (the
lowest twentieth).
"""

Pair = tuple[int, int]


def thumbnail_of(image: Image) -> bytes:
    """A small grey picture of an image, 32 x 32 px, row by row; of a volume its mean along each axis and its middle."""
    pixels = image.pixels.mean(axis=0)
    if pixels.ndim == 2:
        return _shrunk(pixels, SIDE_PX).tobytes()
    views = [pixels.mean(axis=0), pixels.mean(axis=1), pixels.mean(axis=2), pixels[len(pixels) // 2]]
    first, second, third, middle = (_shrunk(view, SIDE_PX // 2) for view in views)
    return np.block([[first, second], [third, middle]]).tobytes()


def near_copies(thumbnails: Sequence[bytes]) -> list[Pair]:
    """The pairs of images that show nearly the same picture, equal ones included.

    Images are compared where their perceptual hashes (pHash, 64 bits) agree in one of 8 bands of 8 bits, which all with
    at most 7 different bits do, so that the work stays far below that of all pairs. Copies that were turned, mirrored
    or cut have another hash and are not found.

    Args:
        thumbnails: of each image, from `thumbnail_of`.

    Returns:
        Pairs of indices, the lower one first, sorted.
    """
    if not thumbnails:
        return []
    grey = np.frombuffer(b"".join(thumbnails), dtype=np.uint8).reshape(len(thumbnails), -1)
    shown = np.flatnonzero(grey.min(axis=1) < grey.max(axis=1))  # an empty picture is like none
    found: set[Pair] = set()
    for band in _hashes(grey[shown]).T:
        order = np.argsort(band, kind="stable")
        for members in np.split(shown[order], np.flatnonzero(np.diff(band[order])) + 1):
            found.update(_alike(grey, np.sort(members)))
    return sorted(found)


def _shrunk(pixels: NDArray[np.float32], side_px: int) -> NDArray[np.uint8]:
    small = np.asarray(
        Picture.fromarray(np.ascontiguousarray(pixels)).resize((side_px, side_px), Picture.Resampling.BILINEAR)
    )
    low, high = float(small.min()), float(small.max())
    if not low < high:
        return np.zeros(small.shape, dtype=np.uint8)
    return np.round((small - low) * (255 / (high - low))).astype(np.uint8)


def _hashes(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`(image, band)`: the perceptual hash of each thumbnail, in 8 bands of 8 bits."""
    from imagehash import phash

    bits = [phash(Picture.fromarray(one.reshape(SIDE_PX, SIDE_PX))).hash for one in grey]
    return np.packbits(np.reshape(bits, (len(grey), 8, 8)).astype(bool), axis=2)[:, :, 0]


def _alike(grey: NDArray[np.uint8], members: NDArray[np.intp], *, block: int = 2048) -> Iterator[Pair]:
    """The pairs among some images whose thumbnails correlate."""
    values = grey[members].astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    for start in range(0, len(members) - 1, block):
        rows, columns = np.nonzero(values[start : start + block] @ values[start:].T >= ALIKE)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                yield int(members[start + row]), int(members[start + column])
