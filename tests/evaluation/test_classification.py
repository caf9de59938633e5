import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from overread.errors import InputError, UndefinedMetric
from overread.evaluation.classification import (
    accuracy,
    auroc,
    average_precision,
    brier,
    classification_estimates,
    f1,
    sensitivity,
    specificity,
)
from overread.evaluation.estimate import Estimate
from overread.evaluation.labels import LabelQuestion
from overread.evaluation.metric import metrics_of

SOME = settings(max_examples=40, deadline=None)
LABEL_METRICS = metrics_of(LabelQuestion)


@st.composite
def two_classes(draw):
    """Truth with both classes, and scores with many ties."""
    n = draw(st.integers(4, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    truth = rng.integers(2, size=n)
    truth[:2] = 0, 1
    return truth, np.round(rng.random(n), draw(st.integers(0, 3)))


def find(estimates: list[Estimate], name: str, class_name: str | None = None) -> Estimate:
    (found,) = [e for e in estimates if e.metric == name and e.class_name == class_name]
    return found


def estimated(truth, scores, patients=None, classes=("benign", "malignant"), task="single-label", **more):
    settings = {"draws": 200, "level": 0.95, "seed": 1, **more}
    patients = [f"P{i}" for i in range(len(scores))] if patients is None else patients
    return classification_estimates(truth, scores, classes, patients, task=task, **settings)


def columns(scores):
    return np.stack([1 - np.asarray(scores), scores], axis=1)


@SOME
@given(two_classes())
def test_numbers_equal_those_of_scikit_learn_ties_included(data):
    truth, scores = data
    called = scores >= 0.5
    assert auroc(truth, scores) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-9)
    assert average_precision(truth, scores) == pytest.approx(sk.average_precision_score(truth, scores), abs=1e-9)
    assert f1(truth, scores) == pytest.approx(sk.f1_score(truth, called), abs=1e-9)
    assert brier(truth, scores) == pytest.approx(sk.brier_score_loss(truth, scores), abs=1e-9)
    assert accuracy(truth, scores) == pytest.approx(sk.accuracy_score(truth, called), abs=1e-9)
    assert sensitivity(truth, scores) == pytest.approx(sk.recall_score(truth, called), abs=1e-9)
    assert specificity(truth, scores) == pytest.approx(sk.recall_score(truth, called, pos_label=0), abs=1e-9)
    balanced = (sensitivity(truth, scores) + specificity(truth, scores)) / 2
    assert balanced == pytest.approx(sk.balanced_accuracy_score(truth, called), abs=1e-9)


@SOME
@given(two_classes(), st.integers(0, 2**31))
def test_a_case_with_weight_three_counts_like_three_cases(data, seed):
    truth, scores = data
    weights = np.random.default_rng(seed).integers(0, 4, size=(5, len(truth)))
    for metric in LABEL_METRICS:
        drawn = metric.over_draws(LabelQuestion.ask(truth, scores).drawn(weights.astype(float)))
        for value, row in zip(drawn, weights, strict=True):
            repeated, again = np.repeat(truth, row), np.repeat(scores, row)
            if np.isnan(value):
                with pytest.raises(UndefinedMetric):
                    metric(repeated, again)
            else:
                assert value == pytest.approx(metric(repeated, again), abs=1e-12)


def test_the_auroc_of_hanley_and_mcneil_s_table_is_theirs():
    # Radiology 143:29 (1982), table I: 109 CT images rated from 1 (definitely normal) to 5 (definitely abnormal).
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    ratings = np.repeat(np.tile(np.arange(5), 2), [*normal, *abnormal]) / 4
    truth = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    assert auroc(truth, ratings) == pytest.approx(0.893, abs=5e-4)


def test_f1_and_brier_by_hand():
    truth, scores = [1, 1, 1, 0, 0], [0.9, 0.6, 0.2, 0.7, 0.1]
    assert f1(truth, scores) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert brier(truth, scores) == pytest.approx((0.01 + 0.16 + 0.64 + 0.49 + 0.01) / 5)


@pytest.mark.parametrize("present", [0, 1])
@pytest.mark.parametrize("metric", [auroc, average_precision], ids=lambda m: m.name)
def test_one_class_alone_defines_no_ranking(metric, present):
    with pytest.raises(UndefinedMetric, match=r"needs (positive|negative) cases; found none"):
        metric([present] * 4, [0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("scores", [[0.1, np.nan], [0.1, 1.2], [0.1, np.inf]])
def test_scores_that_are_no_scores_are_refused(scores):
    with pytest.raises(InputError, match="0 to 1"):
        auroc([0, 1], scores)


def test_of_two_classes_the_overall_auroc_is_that_of_the_second():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(2, size=80), rng.random(80)
    estimates = estimated(truth, columns(scores))
    overall, second = find(estimates, "auroc"), find(estimates, "auroc", "malignant")
    assert (overall.value, overall.low, overall.high) == (second.value, second.low, second.high)
    assert overall.value == pytest.approx(auroc(truth, scores))
    assert find(estimates, "brier").value == pytest.approx(sk.brier_score_loss(truth, scores))
    assert overall.n_positive == truth.sum()


def test_three_classes_are_averaged_and_accuracy_counts_the_highest_score():
    rng = np.random.default_rng(1)
    truth, scores = rng.integers(3, size=90), rng.dirichlet(np.ones(3), size=90)
    estimates = estimated(truth, scores, classes=("a", "b", "c"))
    called = scores.argmax(axis=1)
    assert find(estimates, "auroc").value == pytest.approx(sk.roc_auc_score(truth, scores, multi_class="ovr"))
    assert find(estimates, "accuracy").value == pytest.approx(sk.accuracy_score(truth, called))
    assert find(estimates, "f1").value == pytest.approx(sk.f1_score(truth, called, average="macro"))
    assert find(estimates, "sensitivity").value == pytest.approx(sk.balanced_accuracy_score(truth, called))
    assert find(estimates, "brier").value == pytest.approx(((scores - np.eye(3)[truth]) ** 2).sum(axis=1).mean() / 2)
    assert [e.class_name for e in estimates] == [None] * 7 + ["a"] * 7 + ["b"] * 7 + ["c"] * 7


def test_what_is_not_known_is_left_out_of_its_class_only():
    rng = np.random.default_rng(2)
    truth, scores = rng.integers(2, size=(60, 2)).astype(float), rng.random((60, 2))
    truth[:20, 1] = np.nan
    estimates = estimated(truth, scores, task="multi-label")
    rows = find(estimates, "auroc", "benign"), find(estimates, "auroc", "malignant")
    assert [row.n_cases for row in rows] == [60, 40]
    assert rows[1].value == pytest.approx(sk.roc_auc_score(truth[20:, 1], scores[20:, 1]))
    assert find(estimates, "auroc").value == pytest.approx((rows[0].value + rows[1].value) / 2)


def test_a_number_that_is_undefined_is_none_and_says_why():
    estimates = estimated([0, 0, 0], columns([0.1, 0.6, 0.2]))
    for name in ("auroc", "average_precision", "sensitivity", "f1"):
        row = find(estimates, name, "malignant")
        assert (row.value, row.low, row.high) == (None, None, None)
        assert row.method == f"undefined: {name} needs positive cases; found none"
    assert find(estimates, "auroc").value is None
    assert find(estimates, "accuracy").value == pytest.approx(2 / 3)


def test_no_cases_at_all_give_no_number():
    rows = estimated(np.empty(0, int), np.empty((0, 2)), patients=[])
    assert all(row.value is None and "found none" in row.method for row in rows)


def test_a_class_that_does_not_occur_is_named_as_left_out_of_the_mean():
    rng = np.random.default_rng(3)
    estimates = estimated(rng.integers(2, size=50), rng.dirichlet(np.ones(3), size=50), classes=("a", "b", "c"))
    overall = find(estimates, "auroc")
    per_class = [find(estimates, "auroc", name).value for name in ("a", "b")]
    assert overall.value == pytest.approx(np.mean(per_class))
    assert "without 'c' (undefined)" in overall.method


def test_equal_scores_are_called_for_the_first_class():
    estimates = estimated([0, 1], np.full((2, 2), 0.5))
    assert find(estimates, "sensitivity", "benign").value == 1
    assert find(estimates, "sensitivity", "malignant").value == 0


@SOME
@given(st.integers(0, 2**31))
def test_the_order_of_the_cases_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    truth, scores = rng.integers(3, size=30), np.round(rng.dirichlet(np.ones(3), size=30), 2)
    patients = np.array([f"P{i}" for i in rng.integers(12, size=30)])
    order = rng.permutation(30)
    one = estimated(truth, scores, patients, classes=("a", "b", "c"), draws=50)
    other = estimated(truth[order], scores[order], patients[order], classes=("a", "b", "c"), draws=50)
    for a, b in zip(one, other, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)
        assert a.n_patients == b.n_patients == len(set(patients))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    rng = np.random.default_rng(4)
    truth, scores = rng.integers(2, size=60), columns(rng.random(60))
    assert estimated(truth, scores, seed=1) == estimated(truth, scores, seed=1)
    assert find(estimated(truth, scores, seed=1), "auroc") != find(estimated(truth, scores, seed=2), "auroc")


def test_truth_that_is_no_class_is_refused():
    with pytest.raises(InputError, match="class indices from 0 to 1"):
        estimated([0, 2], columns([0.1, 0.2]))
    with pytest.raises(InputError, match="0, 1 and NaN"):
        estimated([[0.0, 0.5]], [[0.1, 0.2]], task="multi-label")
    with pytest.raises(InputError, match="need truth"):
        estimated([0, 1, 1], columns([0.1, 0.2]))


def test_rows_are_strict_json():
    rows = [one.as_json() for one in estimated([0, 0, 1, 1], columns([0.1, 0.6, 0.2, 0.8]), subgroup="site=A")]
    assert json.loads(json.dumps(rows, allow_nan=False))[0]["subgroup"] == "site=A"
