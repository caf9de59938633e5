"""The marks of several networks become one set of marks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.inference.merging import FoundMark, merge, surest

FEW = settings(max_examples=40, deadline=None)


def mark(box, score: float, kind: int = 0, fill: float | None = None) -> FoundMark:
    mask = None if fill is None else np.full((4, 4), fill, dtype=np.float32)
    return FoundMark(tuple(map(float, box)), score, kind, mask, (50, 60))


def stated(marks: list[FoundMark]) -> list[tuple]:
    return [(one.box, round(one.score, 6), one.class_index) for one in marks]


corner = st.floats(0, 30)
marks_of = st.lists(
    st.builds(
        lambda x, y, w, h, s, k: mark((x, y, x + w, y + h), s, k, s),
        corner,
        corner,
        st.floats(1, 20),
        st.floats(1, 20),
        st.floats(0.01, 1),
        st.integers(0, 1),
    ),
    max_size=4,
)


def test_the_marks_of_one_network_stay_as_they_are_sorted() -> None:
    marks = [mark((0, 0, 5, 5), 0.2), mark((1, 1, 6, 6), 0.9), mark((0, 0, 5, 5), 0.5)]
    assert [one.score for one in merge([marks])] == [0.9, 0.5, 0.2]
    assert {id(one) for one in merge([marks])} == {id(one) for one in marks}
    assert merge([[]]) == []
    assert merge([[], []]) == []


def test_two_that_agree_give_one_mark_between_them_weighted_by_score() -> None:
    first, second = mark((0, 0, 10, 10), 0.9, fill=1.0), mark((2, 0, 12, 10), 0.3, fill=0.0)
    (found,) = merge([[first], [second]])
    assert found.box == pytest.approx((0.5, 0, 10.5, 10))
    assert found.score == pytest.approx(0.6)
    assert found.mask == pytest.approx(0.75)
    assert found.shape == (50, 60)


def test_what_only_one_of_three_sees_counts_a_third() -> None:
    (found,) = merge([[mark((0, 0, 10, 10), 0.9)], [], []])
    assert found.score == pytest.approx(0.3)
    assert found.box == (0, 0, 10, 10)


def test_marks_of_other_classes_and_of_other_places_stay_apart() -> None:
    found = merge([[mark((0, 0, 10, 10), 0.8, 0)], [mark((0, 0, 10, 10), 0.6, 1), mark((8, 0, 18, 10), 0.4, 0)]])
    assert stated(found) == [((0, 0, 10, 10), 0.4, 0), ((0, 0, 10, 10), 0.3, 1), ((8, 0, 18, 10), 0.2, 0)]


def test_two_lesions_of_one_network_are_never_joined() -> None:
    one = [mark((0, 0, 10, 10), 0.9), mark((1, 0, 11, 10), 0.8)]
    found = merge([one, [mark((0, 0, 10, 10), 0.7)]])
    assert len(found) == 2
    assert sum(each.score for each in found) == pytest.approx((0.9 + 0.8 + 0.7) / 2)


def test_a_mark_goes_to_the_lesion_it_overlaps_most() -> None:
    found = merge([[mark((0, 0, 10, 10), 0.9), mark((3, 0, 13, 10), 0.8)], [mark((3, 0, 13, 10), 0.7)]])
    by_left = {round(one.box[0], 3): one.score for one in found}
    assert by_left == {0.0: pytest.approx(0.45), 3.0: pytest.approx(0.75)}


def test_boxes_that_overlap_by_half_are_one_lesion_and_by_less_are_two() -> None:
    wide = mark((0, 0, 20, 10), 0.9)
    assert len(merge([[wide], [mark((0, 0, 10, 10), 0.8)]])) == 1  # IoU 1/2
    assert len(merge([[wide], [mark((0, 0, 9.9, 10), 0.8)]])) == 2
    assert len(merge([[wide], [mark((20, 0, 40, 10), 0.8)]])) == 2


@FEW
@given(st.lists(marks_of, min_size=2, max_size=4))
def test_nothing_is_lost_or_made_up(networks) -> None:
    found = merge(networks)
    total = sum(one.score for marks in networks for one in marks) / len(networks)
    assert sum(one.score for one in found) == pytest.approx(total)
    assert all(0 <= one.score <= 1 + 1e-9 for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(one.mask is not None and -1e-6 <= one.mask.min() <= one.mask.max() <= 1 + 1e-6 for one in found)
    everyone = [one for marks in networks for one in marks]
    for one in found:
        alike = [other.box for other in everyone if other.class_index == one.class_index]
        assert all(
            min(b[axis] for b in alike) - 1e-6 <= one.box[axis] <= max(b[axis] for b in alike) + 1e-6
            for axis in range(4)
        )


@FEW
@given(marks_of, st.integers(2, 4))
def test_networks_that_say_the_same_say_it_once(marks, count: int) -> None:
    apart = [one for n, one in enumerate(marks) if all(_iou(one.box, other.box) < 0.5 for other in marks[:n])]
    found = merge([apart] * count)
    assert sorted(round(one.score, 6) for one in found) == sorted(round(one.score, 6) for one in apart)


@FEW
@given(st.permutations(range(3)))
def test_the_order_of_the_networks_does_not_matter(order) -> None:
    networks = [
        [mark((0, 0, 10, 10), 0.9), mark((30, 30, 40, 40), 0.35)],
        [mark((1, 0, 11, 10), 0.7), mark((31, 30, 41, 40), 0.6)],
        [mark((0, 1, 10, 11), 0.5)],
    ]
    found, expected = merge([networks[n] for n in order]), merge(networks)
    assert [one.score for one in found] == pytest.approx([one.score for one in expected])
    np.testing.assert_allclose([one.box for one in found], [one.box for one in expected])


def _iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_a_lesion_of_which_one_network_gives_no_mask_has_none() -> None:
    (found,) = merge([[mark((0, 0, 10, 10), 0.9, fill=1.0)], [mark((0, 0, 10, 10), 0.9)]])
    assert found.mask is None


def test_marks_with_a_score_of_zero_are_joined_without_a_division_by_zero() -> None:
    (found,) = merge([[mark((0, 0, 10, 10), 0.0, fill=0.5)], [mark((0, 0, 10, 10), 0.0, fill=0.5)]])
    assert found.box == pytest.approx((0, 0, 10, 10))
    assert found.score == 0


def test_of_two_classes_at_one_place_the_surer_stays_and_other_places_are_left_alone() -> None:
    stone, tumour = mark((0, 0, 10, 10), 0.4, 0), mark((0, 0, 10, 12), 0.6, 1)
    beside, again = mark((0, 6, 10, 16), 0.3, 0), mark((0, 0, 10, 11), 0.5, 1)
    assert surest([stone, tumour, beside, again]) == [tumour, again, beside]


@FEW
@given(marks_of)
def test_the_surest_mark_stays_and_none_is_made_up_where_a_place_has_one_class(marks) -> None:
    kept = surest(marks)
    assert {id(one) for one in kept} <= {id(one) for one in marks}
    assert not marks or max(one.score for one in kept) == max(one.score for one in marks)
    assert stated(surest(kept)) == stated(kept)
    one_class = [one for one in marks if one.class_index == 0]
    assert len(surest(one_class)) == len(one_class)
