"""Images that show nearly the same picture: candidates by a perceptual hash, confirmed on the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from overread.image import Image

SIDE_PX = 32
ALIKE, ALIKE_IN_DETAIL = 0.975, 0.85
"""The correlations of two thumbnails, as they are and without what a blur of one pixel leaves, from which on they show
nearly the same picture. Images of one kind share their layout, so neither is enough alone.

Measured over all pairs of real images. Of 5,232 chest radiographs of 28 x 28 px, 1,817 pairs have hashes that differ
in at most 6 of 64 bits, nearly all of other patients: a hash alone finds nothing there. The 28 equal pairs are found
and no other. Of 624 breast ultrasounds 117 pairs are found: all that were looked at are one picture with and without
callipers, or two of one sweep. Of 532 microscopies and 292 blood smears one pair each (two layers of one embryo, for
the first), of 1,286 adrenal glands none. Of 288 simulated CT slices 7 of some 41,000 pairs of different patients,
which are alike and no copies; by the first correlation alone they would be 1,505. Copies with another brightness, or
of half the size, or saved as a JPEG of quality 50, keep 0.99 of both where they have some hundred pixels a side (the
lowest twentieth); at 28 x 28 px such a JPEG keeps 0.81 of its detail, and some copies are missed.
"""

Pair = tuple[int, int]


def thumbnail_of(image: Image) -> bytes:
    """A small grey picture of an image, 32 x 32 px, row by row; of a volume its mean along each axis and its middle."""
    pixels = image.pixels[0] if image.channels == 1 else image.pixels.mean(axis=0)
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
    grey = grey[shown]
    detail = _detail(grey)
    found: set[Pair] = set()
    for band in _hashes(grey).T:
        order = np.argsort(band, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            for first, second in _alike(grey, detail, np.sort(members)):
                found.add((int(shown[first]), int(shown[second])))
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


def _detail(grey: NDArray[np.uint8]) -> NDArray[np.float16]:
    """`(image, pixel)`: what is left of each thumbnail without its blur, of length 1."""
    from scipy.ndimage import gaussian_filter

    detail = np.empty(grey.shape, dtype=np.float16)
    for number, one in enumerate(grey.reshape(-1, SIDE_PX, SIDE_PX).astype(np.float32)):
        detail[number] = _unit((one - gaussian_filter(one, 1)).reshape(1, -1))[0]
    return detail


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows without their mean and of length 1, so that products are correlations; rows of nothing stay nothing."""
    values = values - values.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6))


def _alike(
    grey: NDArray[np.uint8], detail: NDArray[np.float16], members: NDArray[np.intp], *, block: int = 2048
) -> Iterator[Pair]:
    """The pairs among some images whose thumbnails correlate, in their detail (which few do) and as they are."""
    values = detail[members].astype(np.float32)
    for start in range(0, len(members) - 1, block):
        rows, columns = np.nonzero(np.triu(values[start : start + block] @ values[start:].T, 1) >= ALIKE_IN_DETAIL)
        first, second = members[start + rows], members[start + columns]
        for begin in range(0, len(first), block):
            some = slice(begin, begin + block)
            ones, others = (_unit(grey[which[some]].astype(np.float32)) for which in (first, second))
            is_alike = np.einsum("ij,ij->i", ones, others) >= ALIKE
            yield from zip(first[some][is_alike].tolist(), second[some][is_alike].tolist(), strict=True)
