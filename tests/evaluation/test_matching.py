import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.errors import InputError
from overread.evaluation.matching import greedy, match, overlaps
from overread.finding import Finding, Mask, Region

SOME = settings(max_examples=40, deadline=None)


def mark(box, label="mass", score=None):
    return Finding(label, Region(box), score=score)


def test_iou_of_two_boxes_by_hand():
    assert overlaps([Region((0, 0, 10, 10))], [Region((5, 0, 15, 10))], "boxes")[0, 0] == pytest.approx(50 / 150)


def test_boxes_without_area_overlap_nothing():
    empty = [Region((3, 3, 3, 3))]
    assert overlaps(empty, empty, "boxes")[0, 0] == 0


def test_masks_are_compared_by_their_pixels():
    one, other = np.zeros((2, 8, 8), dtype=bool)
    one[:4, :4] = True
    other[2:6, :4] = True
    regions = [Region.from_mask(Mask.from_array(pixels)) for pixels in (one, other)]
    assert overlaps(regions[:1], regions[1:], "masks")[0, 0] == pytest.approx(8 / 24)


def test_masks_of_different_images_are_refused():
    regions = [Region.from_mask(Mask.from_array(np.ones(shape, dtype=bool))) for shape in ((8, 8), (8, 9))]
    with pytest.raises(InputError, match="one size"):
        overlaps(regions[:1], regions[1:], "masks")


def test_a_box_is_no_mask():
    with pytest.raises(InputError, match="has none"):
        overlaps([Region((0, 0, 4, 4))], [Region((0, 0, 4, 4))], "masks")


def test_the_centre_of_a_mark_lies_in_the_true_pixels_or_not():
    ring = np.ones((9, 9), dtype=bool)
    ring[3:6, 3:6] = False
    truth = [Region.from_mask(Mask.from_array(ring)), Region((0, 0, 9, 9))]
    assert overlaps([Region((3, 3, 6, 6))], truth, "centres").tolist() == [[0, 1]]
    assert overlaps([Region((0, 0, 3, 3))], truth, "centres").tolist() == [[1, 1]]


@SOME
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**31))
def test_matching_is_one_to_one_and_only_where_marks_overlap_enough(predicted, truth, seed):
    overlap = np.random.default_rng(seed).random((predicted, truth))
    for least, row in zip((0.5, 0.75), greedy(overlap, (0.5, 0.75)), strict=True):
        taken = row[row >= 0]
        assert len(set(taken.tolist())) == len(taken)
        assert (overlap[np.flatnonzero(row >= 0), taken] >= least).all()
        free = np.setdiff1d(np.arange(truth), taken)
        assert not (overlap[row < 0][:, free] >= least).any()


@SOME
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**31))
def test_taking_the_lowest_scores_away_changes_no_other_pair(predicted, truth, seed):
    overlap = np.random.default_rng(seed).random((predicted, truth))
    kept = predicted // 2
    assert (greedy(overlap, (0.5,))[:, :kept] == greedy(overlap[:kept], (0.5,))).all()


def test_the_higher_score_takes_the_true_mark_even_where_the_lower_one_fits_better():
    truth = [mark((0, 0, 10, 10))]
    predicted = [mark((0, 0, 10, 10), score=0.6), mark((0, 0, 10, 8), score=0.9)]
    assert match(truth, predicted).pairs == ((0, 1, pytest.approx(0.8)),)
    assert match(truth, predicted).false_marks == (0,)


def test_marks_of_different_classes_never_match():
    found = match([mark((0, 0, 10, 10), "mass")], [mark((0, 0, 10, 10), "cyst", 0.9)])
    assert (found.pairs, found.misses, found.false_marks) == ((), (0,), (0,))


def test_a_mark_below_the_threshold_is_in_no_group():
    found = match([mark((0, 0, 10, 10))], [mark((0, 0, 10, 10), score=0.3)], threshold=0.5)
    assert (found.pairs, found.misses, found.false_marks) == ((), (0,), ())


@pytest.mark.parametrize("kind", ["boxes", "masks", "centres"])
@pytest.mark.parametrize("seed", range(3))
def test_every_mark_is_found_missed_or_false(drawn_marks, kind, seed):
    truth, predicted = drawn_marks(seed)
    for case, marks in truth.items():
        found = match(marks, predicted[case], kind=kind)
        assert len(found.pairs) + len(found.misses) == len(marks)
        assert len(found.pairs) + len(found.false_marks) == len(predicted[case])
        assert all(marks[true].label == predicted[case][said].label for true, said, _ in found.pairs)


@pytest.mark.parametrize(
    "wrong",
    [Finding("mass", score=0.5), mark((4, 0, 2, 2), score=0.5), mark((0, 0, 2, 2)), mark((0, 0, 2, 2), score=7)],
    ids=["no region", "inside out", "no score", "wrong score"],
)
def test_a_mark_that_cannot_be_measured_is_refused(wrong):
    with pytest.raises(InputError):
        match([mark((0, 0, 1, 1))], [wrong])
