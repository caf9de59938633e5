"""The outline of a mask along the edges of its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overread.finding import Region

Corners = NDArray[np.int64]


def outlines(mask: NDArray[np.bool_]) -> list[Corners]:
    """Walk around a mask on the edges between its pixels and the others.

    Args:
        mask: `(row, column)`.

    Returns:
        Closed outlines, each `(corner, 2)` as (column, row) of pixel edges: pixel (0, 0) alone has the corners
        (0, 0), (1, 0), (1, 1), (0, 1). The mask lies to the right of the way; holes have outlines of their own.
        Only corners are kept, and the last one is joined with the first.
    """
    padded = np.pad(np.asarray(mask, dtype=np.int8), 1)
    across = np.diff(padded, axis=0)[:, 1:-1]  # (row edge, column): +1 where the mask begins below
    along = np.diff(padded, axis=1)[1:-1, :]  # (row, column edge): +1 where the mask begins to the right
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row, column in np.argwhere(across > 0).tolist():
        ways.setdefault((column, row), []).append((1, 0))
    for row, column in np.argwhere(across < 0).tolist():
        ways.setdefault((column + 1, row), []).append((-1, 0))
    for row, column in np.argwhere(along < 0).tolist():
        ways.setdefault((column, row), []).append((0, 1))
    for row, column in np.argwhere(along > 0).tolist():
        ways.setdefault((column, row + 1), []).append((0, -1))
    found = []
    while ways:
        found.append(_walk(ways))
    return found


def _walk(ways: dict[tuple[int, int], list[tuple[int, int]]]) -> Corners:
    """One closed outline; its edges are taken out of `ways`."""
    at = start = next(iter(ways))
    before = (0, 0)
    corners: list[tuple[int, int]] = []
    while not corners or at != start:
        choice = ways[at]
        # Two pixels that touch at a corner only: turn right, so that each keeps an outline of its own.
        right = (-before[1], before[0])
        step = right if right in choice else choice[0]
        choice.remove(step)
        if not choice:
            del ways[at]
        if step != before:
            corners.append(at)
        before = step
        at = (at[0] + step[0], at[1] + step[1])
    return np.array(corners, dtype=np.int64)


def region_outlines(region: Region) -> list[NDArray[np.float64]]:
    """The outlines of a region in pixels of the image, (column, row) of edges: of its mask, else of its box."""
    left, top, right, bottom = region.box
    if region.mask is None:
        return [np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)]
    if region.mask.area_px == 0:
        return []
    first_column, first_row, last_column, last_row = (int(edge) for edge in region.mask.box)
    cut = region.mask.to_array()[first_row:last_row, first_column:last_column]
    offset = np.array([first_column, first_row])
    return [(corners + offset).astype(np.float64) for corners in outlines(cut)]
