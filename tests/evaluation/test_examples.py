import numpy as np
import pytest

from overread.errors import UndefinedMetric
from overread.evaluation.examples import case_score, label_case_score
from overread.finding import Finding, Region

HERE, THERE = Region((0, 0, 10, 10)), Region((20, 20, 30, 30))


def test_a_normal_image_without_marks_is_all_right_and_with_a_mark_all_wrong():
    assert case_score([], []) == 1
    assert case_score([], [Finding("mass", HERE, 0.9)]) == 0
    assert case_score([], [Finding("mass", HERE, 0.1)]) == 1


def test_one_of_two_found_and_one_false_mark_by_hand():
    truth = [Finding("mass", HERE), Finding("mass", THERE)]
    predicted = [Finding("mass", HERE, 0.9), Finding("mass", HERE, 0.8)]
    assert case_score(truth, predicted) == pytest.approx(0.5)


def test_several_labels_are_averaged_over_the_known_ones():
    assert label_case_score([1, 0, np.nan], [0.9, 0.3, 0.5]) == pytest.approx(0.8)
    with pytest.raises(UndefinedMetric):
        label_case_score([np.nan], [0.5])
