import numpy as np
import pytest
from sklearn import metrics as sk

from overread.errors import InputError, UndefinedMetric
from overread.evaluation.classification import auroc
from overread.evaluation.curves import confusion_matrix, froc, pr_curve, roc_curve
from overread.finding import Finding, Region


def test_the_area_under_the_roc_curve_is_the_auroc():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(2, size=50), np.round(rng.random(50), 1)
    curve = roc_curve(truth, scores)
    assert sk.auc(curve.x, curve.y) == pytest.approx(auroc(truth, scores))
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)


def test_precision_and_recall_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    truth, scores = rng.integers(2, size=50), np.round(rng.random(50), 1)
    curve = pr_curve(truth, scores)
    precision, recall, thresholds = sk.precision_recall_curve(truth, scores)
    assert curve.y[::-1] == pytest.approx(precision[:-1])
    assert curve.x[::-1] == pytest.approx(recall[:-1])
    assert curve.thresholds[::-1] == pytest.approx(thresholds)


def test_one_class_has_no_curve():
    with pytest.raises(UndefinedMetric, match="found 2 positive of 2"):
        roc_curve([1, 1], [0.1, 0.2])


def test_froc_points_by_hand():
    there, elsewhere = Region((0, 0, 10, 10)), Region((20, 20, 30, 30))
    truth = {"a": [Finding("mass", there)], "b": [Finding("mass", there)], "normal": [], "also": []}
    predicted = {
        "a": [Finding("mass", there, 0.9)],
        "b": [Finding("mass", elsewhere, 0.7), Finding("mass", there, 0.3)],
        "normal": [Finding("mass", there, 0.7)],
        "also": [],
    }
    curve = froc(truth, predicted)
    assert curve.x.tolist() == [0, 0, 0.5, 0.5]
    assert curve.y.tolist() == [0, 0.5, 0.5, 1]
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.7, 0.3]


def test_the_rule_of_a_hit_can_be_the_centre_of_the_mark():
    truth = {"a": [Finding("mass", Region((0, 0, 20, 20)))]}
    predicted = {"a": [Finding("mass", Region((8, 8, 12, 12)), 0.9)]}
    assert froc(truth, predicted).y[-1] == 0
    assert froc(truth, predicted, kind="centres").y[-1] == 1


def test_froc_rises_and_ends_with_all_marks(drawn_marks):
    truth, predicted = drawn_marks(0)
    curve = froc(truth, predicted, kind="masks")
    assert (np.diff(curve.x) >= 0).all()
    assert (np.diff(curve.y) >= 0).all()
    marks, true = (sum(map(len, side.values())) for side in (predicted, truth))
    assert round(curve.x[-1] * len(truth)) + round(curve.y[-1] * true) == marks


def test_froc_of_normal_images_alone_is_undefined():
    with pytest.raises(UndefinedMetric):
        froc({"a": []}, {"a": []})


def test_the_confusion_matrix_is_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    truth, called = rng.integers(3, size=(2, 40))
    assert (confusion_matrix(truth, called, 4)[:3, :3] == sk.confusion_matrix(truth, called, labels=range(3))).all()
    with pytest.raises(InputError, match="0 to 1"):
        confusion_matrix(truth, called, 2)
