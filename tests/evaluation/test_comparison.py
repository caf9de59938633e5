from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.evaluation.classification import classification_measured
from overread.evaluation.comparison import auroc_tests, corrected, differences, holm, with_tests
from overread.evaluation.localisation import localisation_measured

CLASSES = ("benign", "malignant")
FEW = settings(max_examples=15, deadline=None)


def scored(seed, *, cases=60, shifts=(0.5, 1.5), common=1.0, per_patient=1, classes=2):
    """Truth, patients and the scores of two runs, whose errors have something in common as those of real runs have."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=cases)
    truth[:classes] = range(classes)
    hard = rng.normal(size=(cases, classes)) * common
    runs = []
    for shift in shifts:
        logits = shift * np.eye(classes)[truth] + hard + rng.normal(size=(cases, classes))
        runs.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    return truth, [f"P{i // per_patient}" for i in range(cases)], runs


def measured(truth, patients, scores, *, classes=CLASSES, task="single-label", draws=200, seed=0):
    return classification_measured(truth, scores, classes, patients, task=task, draws=draws, seed=seed)


def compared(truth, patients, runs, *, classes=CLASSES, **settings):
    one, two = (measured(truth, patients, scores, classes=classes, **settings) for scores in runs)
    rows = differences(one, two, level=0.95, same=np.array_equal(*runs))
    (tested,) = corrected([with_tests(rows, auroc_tests(truth, *runs, classes, level=0.95))])
    return {row.key: row for row in tested}


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
@FEW
def test_a_run_held_against_itself_differs_by_nothing(seed, classes):
    names = tuple("abcd"[:classes])
    truth, patients, (scores, _) = scored(seed, classes=classes)
    for row in compared(truth, patients, [scores, scores], classes=names).values():
        assert (row.value, row.low, row.high, row.verdict) == (0, 0, 0, "the same")
        assert row.test is None or (row.test.p_value, row.p_holm) == (1, 1)


@given(seed=st.integers(0, 10_000), per_patient=st.sampled_from([1, 3]))
@FEW
def test_swapping_the_runs_flips_every_sign(seed, per_patient):
    truth, patients, runs = scored(seed, per_patient=per_patient)
    there, back = (compared(truth, patients, order) for order in (runs, runs[::-1]))
    opposite = {"better": "worse", "worse": "better"}
    for key, row in there.items():
        other = back[key]
        assert row.value == pytest.approx(-other.value, abs=1e-12)
        assert (row.low is None) == (other.low is None)
        if row.low is not None:
            assert (row.low, row.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
        assert row.verdict == opposite.get(other.verdict, other.verdict)
        assert (row.p_holm is None) == (other.p_holm is None)


def test_about_nineteen_of_twenty_paired_intervals_hold_the_true_difference():
    # the order is that of one logit minus the other: 2 * shift lies between the classes, and the variance of each is 4
    aurocs = [NormalDist().cdf(2 * shift / np.sqrt(4 + 4)) for shift in (0.5, 1.5)]
    inside = 0
    for seed in range(150):
        truth, patients, runs = scored(seed, cases=120)
        row = compared(truth, patients, runs, draws=200, seed=seed)["auroc", None]
        inside += row.low <= aurocs[1] - aurocs[0] <= row.high
    assert 134 <= inside <= 149


def test_a_paired_interval_is_narrower_than_two_runs_apart_where_they_err_alike():
    truth, patients, runs = scored(1, cases=200, common=3.0)
    one, two = (measured(truth, patients, scores) for scores in runs)
    apart = differences(one, measured(truth, patients, runs[1], seed=1), level=0.95, same=False)
    paired = differences(one, two, level=0.95, same=False)
    width = [next(r.high - r.low for r in rows if r.key == ("auroc", None)) for rows in (paired, apart)]
    assert width[0] < 0.8 * width[1]


def test_images_of_one_patient_are_drawn_together_and_the_test_says_that_it_counts_images():
    truth, patients, runs = scored(2, cases=60)
    copies = [np.repeat(one, 4, axis=0) for one in (truth, *runs)]
    row = compared(copies[0], [f"P{i // 4}" for i in range(240)], copies[1:])["auroc", None]
    alone = compared(truth, patients, runs)["auroc", None]
    assert (row.low, row.high) == pytest.approx((alone.low, alone.high), abs=0.03)
    assert row.test.p_value < alone.test.p_value
    assert "these are of 60 patients (or groups of copies) only" in row.test.method
    assert "patients" not in alone.test.method


def test_what_is_better_when_lower_is_better_when_lower():
    truth, patients, runs = scored(0, cases=300, shifts=(0.2, 4.0))
    rows = compared(truth, patients, runs)
    assert rows["brier", None].value < 0
    assert {rows["brier", None].verdict, rows["auroc", None].verdict} == {"better"}


def test_a_difference_is_only_called_one_where_interval_and_test_agree():
    truth, patients, runs = scored(3, cases=300, shifts=(0.5, 3.0), classes=3)
    row = compared(truth, patients, runs, classes=("a", "b", "c"))["auroc", "a"]
    assert row.verdict == "better"
    assert row.p_holm >= row.test.p_value
    assert replace(row, p_holm=0.2).verdict == "could be chance"
    assert replace(row, low=-0.1).verdict == "could be chance"


def test_each_class_has_its_test_and_two_classes_have_one():
    truth, _, runs = scored(4)
    assert list(auroc_tests(truth, *runs, CLASSES, level=0.95)) == [None]
    truth, _, runs = scored(4, classes=3)
    assert list(auroc_tests(truth, *runs, ("a", "b", "c"), level=0.95)) == ["a", "b", "c"]
    labels = np.array([[1, np.nan], [0, 1], [1, np.nan], [0, 1.0]])
    scores = np.random.default_rng(0).random((2, 4, 2))
    assert list(auroc_tests(labels, *scores, ("a", "b"), level=0.95)) == ["a"]  # of "b" nothing negative is known


def test_answers_that_differ_and_are_both_perfect_have_no_interval_instead_of_a_certain_zero():
    truth = np.repeat([0, 1], 10)
    patients = [f"P{i}" for i in range(20)]
    runs = [np.stack([1 - truth * s, truth * s], axis=1) for s in (0.8, 0.9)]
    row = compared(truth, patients, runs)["auroc", None]
    assert (row.value, row.low, row.verdict) == (0, None, "no difference seen")
    assert "same number" in row.method


def test_an_undefined_number_has_no_difference_and_says_why():
    truth, patients = np.zeros(8, dtype=int), [f"P{i}" for i in range(8)]
    runs = np.random.default_rng(0).dirichlet([1, 1], size=(2, 8))
    row = compared(truth, patients, runs)["auroc", None]
    assert (row.value, row.low, row.verdict) == (None, None, "undefined")
    assert "undefined: auroc needs positive cases" in row.method


@given(seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_marks_are_compared_alike(seed, drawn_marks):
    truth, predicted = drawn_marks(seed)
    fewer = {case: marks[: len(marks) // 2] for case, marks in predicted.items()}
    patients = {case: case for case in truth}

    def run(marks):
        return localisation_measured(
            truth, marks, ("mass", "cyst"), patients, kind="masks", threshold=0.3, draws=100, seed=0
        )

    more, less = run(predicted), run(fewer)
    there, back = (differences(*pair, level=0.95, same=False) for pair in ((more, less), (less, more)))
    for one, two in zip(there, back, strict=True):
        assert (one.value is None) == (two.value is None)
        assert one.value is None or one.value == pytest.approx(-two.value, abs=1e-12)
    assert {row.value for row in differences(more, run(predicted), level=0.95, same=True)} <= {0.0, None}


def test_means_over_different_classes_are_not_subtracted(drawn_marks):
    truth, predicted = drawn_marks(0)
    patients = {case: case for case in truth}
    no_cysts = {case: [mark for mark in marks if mark.label == "mass"] for case, marks in predicted.items()}
    one, two = (
        localisation_measured(truth, marks, ("mass", "cyst"), patients, kind="boxes", threshold=0.3, draws=50, seed=0)
        for marks in (predicted, no_cysts)
    )
    rows = {row.key: row for row in differences(one, two, level=0.95, same=False)}
    assert rows["instance_dice", None].value is None
    assert "different classes" in rows["instance_dice", None].method
    assert rows["instance_dice", "mass"].value == 0


@given(st.lists(st.floats(0, 1), max_size=8))
@FEW
def test_a_corrected_p_is_never_smaller_and_keeps_the_order(p_values):
    found = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, found, strict=True))
    assert sorted(found) == [found[i] for i in np.argsort(p_values, kind="stable")]
    assert not found or min(found) == pytest.approx(min(1, len(found) * min(p_values)))
