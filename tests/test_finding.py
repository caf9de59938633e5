import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from overread.errors import InputError
from overread.finding import Mask, Region

pictures = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


@settings(max_examples=40)
@given(pictures)
def test_a_mask_comes_back_as_it_went_in(picture: NDArray[np.bool_]) -> None:
    mask = Mask.from_array(picture)
    np.testing.assert_array_equal(mask.to_array(), picture)
    assert mask.shape == picture.shape
    assert Mask.from_coco(mask.to_coco()) == mask


@settings(max_examples=40)
@given(pictures)
def test_area_and_box_of_a_mask_are_those_of_its_pixels(picture: NDArray[np.bool_]) -> None:
    mask = Mask.from_array(picture)
    assert mask.area_px == picture.sum()
    rows, columns = np.nonzero(picture)
    if rows.size:
        assert mask.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    else:
        assert mask.box == (0, 0, 0, 0)
    assert Region.from_mask(mask) == Region(mask.box, mask)


def test_a_box_has_its_edges_outside_of_its_pixels() -> None:
    picture = np.zeros((5, 7), dtype=bool)
    picture[0, 0] = True
    assert Mask.from_array(picture).box == (0, 0, 1, 1)


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))
def test_a_rectangle_drawn_as_a_polygon_is_that_rectangle(left: int, top: int, width: int, height: int) -> None:
    right, bottom = left + width, top + height
    drawn = Mask.from_polygons([[left, top, right, top, right, bottom, left, bottom]], (12, 12)).to_array()
    expected = np.zeros((12, 12), dtype=bool)
    expected[top:bottom, left:right] = True
    np.testing.assert_array_equal(drawn, expected)


def test_several_polygons_are_one_mask() -> None:
    polygons = [[0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 6, 4, 6]]
    assert Mask.from_polygons(polygons, (8, 8)).area_px == 8


def test_uncompressed_counts_are_read_column_by_column() -> None:
    mask = Mask.from_coco({"size": [2, 3], "counts": [0, 2, 4]})
    np.testing.assert_array_equal(mask.to_array(), [[True, False, False], [True, False, False]])


def test_a_mask_of_a_volume_is_refused() -> None:
    with pytest.raises(InputError, match="row, column"):
        Mask.from_array(np.zeros((2, 3, 4), dtype=bool))


def test_a_label_map_is_not_cut_off_at_256() -> None:
    assert Mask.from_array(np.full((2, 2), 256, dtype=np.uint16)).area_px == 4  # type: ignore[arg-type]
