import numpy as np
import pytest

from overread.evaluation.classification import classification_estimates
from overread.evaluation.intervals import interval, resampled


def estimates(truth, scores, patients, draws=400, seed=0):
    rows = classification_estimates(
        truth,
        np.stack([1 - scores, scores], axis=1),
        ("benign", "malignant"),
        patients,
        task="single-label",
        draws=draws,
        level=0.95,
        seed=seed,
    )
    return {row.metric: row for row in rows if row.class_name == "malignant"}


def scored(rng, n):
    truth = rng.integers(2, size=n)
    return truth, np.clip(rng.normal(0.35 + 0.3 * truth, 0.25), 0, 1)


def test_draws_do_not_depend_on_how_many_are_made_at_once():
    one = np.concatenate(list(resampled(7, 20, 3, at_once=20)))
    assert (np.concatenate(list(resampled(7, 20, 3, at_once=6))) == one).all()
    assert (one.sum(axis=1) == 7).all()


def test_images_of_one_patient_are_drawn_together_so_that_copies_widen_the_interval():
    truth, scores = scored(np.random.default_rng(0), 40)
    truth, scores = np.repeat(truth, 5), np.repeat(scores, 5)
    by_patient = estimates(truth, scores, [f"P{i // 5}" for i in range(200)])["auroc"]
    by_case = estimates(truth, scores, [f"P{i}" for i in range(200)])["auroc"]
    assert by_patient.value == by_case.value
    assert by_patient.high - by_patient.low > 1.7 * (by_case.high - by_case.low)
    assert (by_patient.n_cases, by_patient.n_patients) == (200, 40)


def test_about_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(5)
    means = rng.normal(0.35, 0.25, 200_000), rng.normal(0.65, 0.25, 200_000)
    true_auroc = float((np.clip(means[1], 0, 1) > np.clip(means[0], 0, 1)).mean())
    inside = 0
    for seed in range(100):
        row = estimates(*scored(rng, 100), [f"P{i}" for i in range(100)], draws=200, seed=seed)["auroc"]
        inside += row.low <= true_auroc <= row.high
    assert inside >= 85


def test_one_patient_has_no_interval():
    truth, scores = scored(np.random.default_rng(1), 20)
    row = estimates(truth, scores, ["P0"] * 20)["auroc"]
    assert row.value is not None
    assert (row.low, row.high) == (None, None)
    assert "takes at least 2" in row.method


def test_one_patient_with_the_class_has_no_interval_however_many_are_without():
    scores = np.linspace(0, 0.9, 30)
    rows = estimates(np.arange(30) == 20, scores, [f"P{i}" for i in range(30)])
    for name in ("auroc", "average_precision", "sensitivity", "f1"):
        assert rows[name].low is None, name
    assert rows["specificity"].low is not None


def test_a_perfect_result_has_an_exact_bound_and_not_an_interval_without_width():
    truth = np.repeat([0, 1], 20)
    rows = estimates(truth, truth * 0.8 + 0.1, [f"P{i}" for i in range(40)])
    # Clopper and Pearson: all of n right, two-sided 95 %: 0.025 ** (1 / n)
    assert rows["accuracy"].low == pytest.approx(0.025 ** (1 / 40))
    assert rows["sensitivity"].low == pytest.approx(0.025 ** (1 / 20))
    assert (rows["auroc"].low, rows["auroc"].high) == (pytest.approx(0.025 ** (1 / 20)), 1)
    assert rows["f1"].low is None
    assert "same number" in rows["f1"].method


def test_what_was_never_found_has_an_upper_bound():
    rows = estimates(np.repeat([0, 1], 20), np.full(40, 0.2), [f"P{i}" for i in range(40)])
    assert (rows["sensitivity"].low, rows["sensitivity"].high) == (0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_draws_that_are_undefined_are_left_out_and_counted():
    found = interval(0.5, np.array([0.4, np.nan, 0.6, 0.5]), level=0.95, patients=20, proportion=False)
    assert "1 of them left out as undefined" in found.method
    assert 0.4 <= found.low < found.high <= 0.6


def test_mostly_undefined_draws_give_no_interval():
    found = interval(0.5, np.array([0.4, np.nan, np.nan]), level=0.95, patients=20, proportion=False)
    assert (found.low, found.method) == (None, "no interval: undefined in 2 of 3 draws")


def test_few_patients_are_said():
    found = interval(0.5, np.linspace(0.4, 0.6, 50), level=0.95, patients=4, proportion=False)
    assert "4 patients only" in found.method


def test_a_higher_level_is_wider():
    drawn = np.random.default_rng(0).random(500)
    narrow = interval(0.5, drawn, level=0.8, patients=50, proportion=False)
    wide = interval(0.5, drawn, level=0.95, patients=50, proportion=False)
    assert wide.low < narrow.low < narrow.high < wide.high
