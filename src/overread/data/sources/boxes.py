"""Boxes as data sets write them, fitted to their image."""

from __future__ import annotations

from overread.finding import Box

_TOLERANCE_PX = 2.0


def fitted(box: Box, size_px: tuple[int, int] | None) -> Box:
    """A box cut to its image where it sticks out by at most 2 px (counting from 0 or 1, rounding); else as it is.

    Args:
        box: (left, top, right, bottom) in px.
        size_px: (row, column) of the image; None where it is not known, then only left and top are cut.

    >>> fitted((-1, 5, 101.5, 20), (50, 100)), fitted((-9, 5, 20, 20), (50, 100))
    ((0.0, 5, 100.0, 20), (-9, 5, 20, 20))
    """
    rows, columns = size_px or (float("inf"), float("inf"))
    left, top, right, bottom = box
    if min(left, top) < -_TOLERANCE_PX or right > columns + _TOLERANCE_PX or bottom > rows + _TOLERANCE_PX:
        return box
    inside = max(left, 0.0), max(top, 0.0), min(right, float(columns)), min(bottom, float(rows))
    return inside if inside[0] < inside[2] and inside[1] < inside[3] else box
