import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overread.export.contour import outlines, region_outlines
from overread.finding import Mask, Region

masks = arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8)))


def test_the_outline_of_one_pixel_is_its_four_corners() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    (outline,) = outlines(mask)
    assert outline.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]


@settings(max_examples=50)
@given(masks)
def test_the_outlines_enclose_exactly_the_pixels_of_the_mask(mask: np.ndarray) -> None:
    crossings = np.zeros(mask.shape, dtype=int)
    for outline in outlines(mask):
        for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            assert (x0 == x1) != (y0 == y1)
            if x0 == x1:  # every pixel right of an upright edge has crossed it once more
                crossings[min(y0, y1) : max(y0, y1), x0:] += 1
    assert (crossings % 2 == 1).tolist() == mask.tolist()


@settings(max_examples=50)
@given(masks)
def test_the_outlines_are_as_long_as_the_border_of_the_mask(mask: np.ndarray) -> None:
    padded = np.pad(mask, 1).astype(int)
    border = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    length = sum(np.abs(outline - np.roll(outline, -1, axis=0)).sum() for outline in outlines(mask))
    assert length == border


def test_pixels_that_touch_at_a_corner_have_outlines_of_their_own() -> None:
    assert len(outlines(np.eye(3, dtype=bool))) == 3


def test_a_hole_has_an_outline_of_its_own() -> None:
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = False
    assert sorted(len(outline) for outline in outlines(mask)) == [4, 4]


@pytest.mark.parametrize("offset", [(0, 0), (5, 7)])
def test_a_region_is_outlined_where_it_lies_in_the_image(offset: tuple[int, int]) -> None:
    row, column = offset
    array = np.zeros((12, 12), dtype=bool)
    array[row : row + 2, column : column + 3] = True
    (outline,) = region_outlines(Region.from_mask(Mask.from_array(array)))
    corners = {(column, row), (column + 3, row), (column + 3, row + 2), (column, row + 2)}
    assert {tuple(corner) for corner in outline.tolist()} == corners


def test_an_empty_mask_has_no_outline() -> None:
    assert region_outlines(Region.from_mask(Mask.from_array(np.zeros((4, 4), dtype=bool)))) == []
