"""Images that show nearly the same picture: candidates by a perceptual hash, confirmed on the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

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

SAME, SAME_IN_DETAIL, OVERLAID = 0.995, 0.95, 0.03
"""The same correlations, higher, from which on two thumbnails are copies without that share of their pixels in which
they differ most, such as a letter or a dot that one of them has; also where one was mirrored or turned.

One white pixel in the middle of a radiograph of 28 x 28 px is more detail than all the rest of it: with it, or a black
one, or one in the corner, 8 to 97 of 100 copies of radiographs and ultrasounds were found by the first two borders, and
all are by these. In the sets above these find no further pair, mirrored and turned ones included; by the borders above
29 pairs of the CT slices would be mirrored ones, which bodies nearly are. A mirrored copy that was saved as
a JPEG is found where it has some hundred pixels a side, and hardly ever at 28 x 28 px.
"""

_ORIENTATIONS = tuple(product(range(4), (False, True)))
"""Quarter turns, and whether mirrored."""

_SCREENED = 0.8
"""The correlation of (clipped) detail from which on a pair is looked at closely."""

_LENGTH = 127
"""Of the vector of a thumbnail's detail."""

_BLOCK = 1024
"""Thumbnails, or pairs, that are computed with together, to bound the memory."""

Pair = tuple[int, int]
_Grey = NDArray[np.float32]


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
    at most 7 different bits do, so that the work stays far below that of all pairs. Flat images are also found where
    one is mirrored, or turned by quarters. Copies that were cut, moved or turned by less are not found, nor are volumes
    that were mirrored or turned.

    Args:
        thumbnails: of each image, from `thumbnail_of`.

    Returns:
        Pairs of indices, the lower one first, sorted.
    """
    if not thumbnails:
        return []
    grey = np.frombuffer(b"".join(thumbnails), dtype=np.uint8).reshape(len(thumbnails), SIDE_PX, SIDE_PX)
    shown = np.flatnonzero(grey.min(axis=(1, 2)) < grey.max(axis=(1, 2)))  # an empty picture is like none
    grey = grey[shown]
    hashes, details = _hashes(grey), _details(grey)
    found: set[Pair] = set()
    for orientation in _ORIENTATIONS:
        bands = list(zip(hashes.T, _hashes(_turned(grey, *orientation)).T, strict=True))
        for first, second in _candidates(bands, details, orientation):
            others = _turned(grey[second], *orientation)
            close = _are_copies(grey[first], others, upright=orientation == (0, False))
            found.update(zip(shown[first[close]].tolist(), shown[second[close]].tolist(), strict=True))
    return sorted(found)


def _shrunk(pixels: NDArray[np.float32], side_px: int) -> NDArray[np.uint8]:
    small = np.asarray(
        Picture.fromarray(np.ascontiguousarray(pixels)).resize((side_px, side_px), Picture.Resampling.BILINEAR)
    )
    low, high = float(small.min()), float(small.max())
    if not low < high:
        return np.zeros(small.shape, dtype=np.uint8)
    return np.round((small - low) * (255 / (high - low))).astype(np.uint8)


def _turned(pictures: NDArray[Any], quarter_turns: int, is_mirrored: bool) -> NDArray[Any]:
    """Pictures `(image, row, column)` in another orientation."""
    pictures = np.rot90(pictures, quarter_turns, axes=(1, 2))
    return pictures[:, :, ::-1] if is_mirrored else pictures


def _hashes(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`(image, band)`: the pHash of each thumbnail, which of its slow waves are stronger than their median."""
    from scipy.fft import dctn

    bands = np.empty((len(grey), 8), dtype=np.uint8)
    for start in range(0, len(grey), _BLOCK):
        waves = dctn(grey[start : start + _BLOCK].astype(np.float64), axes=(1, 2))[:, :8, :8]
        bits = waves > np.median(waves, axis=(1, 2), keepdims=True)
        bands[start : start + _BLOCK] = np.packbits(bits, axis=2)[:, :, 0]
    return bands


def _details(grey: NDArray[np.uint8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """`(image, row, column)`, twice: what is left without a blur, of length 127; in the second no pixel outweighs all.

    As small integers, which is exact enough to choose by and quick to compute with.
    """
    whole, clipped = (np.empty(grey.shape, dtype=np.int8) for _ in range(2))
    for start in range(0, len(grey), _BLOCK):
        some = slice(start, start + _BLOCK)
        detail = _detail(grey[some])
        most = np.quantile(np.abs(detail), 0.95, axis=1, keepdims=True)
        for kind, values in ((whole, detail), (clipped, np.clip(detail, -most, most))):
            kind[some] = np.round(_LENGTH * _unit(values)).reshape(-1, SIDE_PX, SIDE_PX)
    return whole, clipped


def _detail(grey: NDArray[np.uint8]) -> _Grey:
    """`(image, pixel)`: thumbnails less their blur."""
    from scipy.ndimage import gaussian_filter

    values = grey.astype(np.float32)
    return np.asarray((values - gaussian_filter(values, (0, 1, 1))).reshape(len(grey), -1))


def _unit(values: _Grey) -> _Grey:
    """Rows without their mean and of length 1, so that products are correlations; rows of nothing stay nothing."""
    values = values - values.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6))


def _candidates(
    bands: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    details: Sequence[NDArray[np.int8]],
    orientation: tuple[int, bool],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs, the lower index first, that share a band and whose details are alike, the second one's being turned."""
    count = len(details[0])
    met = [np.empty(0, dtype=np.intp)]
    for ours, theirs in bands:
        for value in np.intersect1d(ours, theirs):
            first, second = np.flatnonzero(ours == value), np.flatnonzero(theirs == value)
            first, second = first[first < second[-1]], second[second > first[0]]
            for detail in details if len(second) else ():
                others = _turned(detail[second], *orientation).reshape(len(second), -1).astype(np.float32)
                for start in range(0, len(first), _BLOCK):
                    some = first[start : start + _BLOCK]
                    own = detail[some].reshape(len(some), -1).astype(np.float32)
                    rows, columns = np.nonzero(own @ others.T >= _SCREENED * _LENGTH**2)
                    one, other = some[rows], second[columns]
                    met.append((one * count + other)[one < other])
    pairs = np.unique(np.concatenate(met))
    for start in range(0, len(pairs), _BLOCK):
        yield np.divmod(pairs[start : start + _BLOCK], count)


def _are_copies(grey: NDArray[np.uint8], others: NDArray[np.uint8], *, upright: bool) -> NDArray[np.bool_]:
    """`(pair,)`: whether thumbnails agree nearly everywhere, or, upright, are alike as a whole."""
    whole = tuple(each.reshape(len(each), -1).astype(np.float32) for each in (grey, others))
    detail = _detail(grey), _detail(others)
    same = (_correlation(*whole, without=OVERLAID) >= SAME) & (
        _correlation(*detail, without=OVERLAID) >= SAME_IN_DETAIL
    )
    if not upright:
        return same
    return np.asarray(same | (_correlation(*whole) >= ALIKE) & (_correlation(*detail) >= ALIKE_IN_DETAIL))


def _correlation(ones: _Grey, others: _Grey, *, without: float = 0.0) -> _Grey:
    """`(pair,)`: of each two rows, without that share of the pixels in which they differ most."""
    leave = round(without * ones.shape[1])
    kept = np.ones_like(ones)
    one, other = _standard(ones, kept), _standard(others, kept)
    for _ in range(2 if leave else 0):  # in what they differ shows once mean and range are those of the rest
        worst = np.argpartition(-np.abs(one - other), leave, axis=1)[:, :leave]
        kept = np.ones_like(ones)
        np.put_along_axis(kept, worst, 0, axis=1)
        one, other = _standard(ones, kept), _standard(others, kept)
    return np.asarray((one * other * kept).sum(axis=1) / kept.sum(axis=1))


def _standard(values: _Grey, kept: _Grey) -> _Grey:
    """Rows of mean 0 and deviation 1 over what is kept of them."""
    count = kept.sum(axis=1, keepdims=True)
    values = values - (values * kept).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((np.square(values) * kept).sum(axis=1, keepdims=True) / count)
    return np.asarray(values / np.maximum(deviation, 1e-6))
