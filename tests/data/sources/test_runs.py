"""A label map in one pass says what encoding every instance says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overread.data.sources.runs import masks_of, run_lengths
from overread.finding import Mask


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.uint32]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.sampled_from([0, 0, 1, 2, 3, 250]),
    )
)
def test_every_instance_is_encoded_as_one_by_one(label_map):
    masks = masks_of(label_map)
    numbers = [int(number) for number in np.unique(label_map) if number]
    assert list(masks) == numbers
    for number, mask in masks.items():
        assert mask == Mask.from_array(label_map == number)


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_compressed_counts_are_read_as_they_were_written(mask):
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.ravel(order="F")]).astype(int)))
    found = run_lengths(Mask.from_array(mask).counts)
    assert found == np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()


def test_a_number_beyond_sixteen_bit_keeps_its_pixels():
    label_map = np.array([[0, 70000], [70001, 70000]], np.uint32)
    assert {number: mask.area_px for number, mask in masks_of(label_map).items()} == {70000: 2, 70001: 1}


def test_a_large_label_map_is_encoded_quickly():
    label_map = np.kron(np.arange(1, 401, dtype=np.uint16).reshape(20, 20), np.ones((50, 50), np.uint16))
    masks = masks_of(label_map)
    assert len(masks) == 400
    assert all(mask.area_px == 2500 for mask in masks.values())
