"""Predictions held against the truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from overread.data.manifest import Case, ImageRef, Manifest
from overread.errors import TruthAbsent
from overread.evaluation.metric import metrics_of
from overread.evaluation.restoration import NOISE_LEVELS, RestorationQuestion, quality_name
from overread.evaluation.section import EvaluationSection
from overread.finding import Finding, Mask, Prediction, Region
from overread.inference.assessment import DEFAULT_THRESHOLD, Assessment

CLASSES = ("cyst", "stone")
QUICK = EvaluationSection(draws=100)


def case(key: str, *, patient: str | None = None, **known) -> Case:
    return Case(key, patient or f"p-{key}", (ImageRef(Path(f"{key}.png")),), **known)


def labelled(key: str, label: str | None, **more) -> Case:
    return case(key, labels={name: None if label is None else name == label for name in CLASSES}, **more)


def said(key: str, stone: float) -> Prediction:
    return Prediction(key, scores={"cyst": 1 - stone, "stone": stone})


def set_of(*cases: Case, task="single-label") -> Manifest:
    return Manifest("set", "test", task, CLASSES, tuple(cases))


def region(left: int, top: int, side: int = 10) -> Region:
    array = np.zeros((50, 60), dtype=bool)
    array[top : top + side, left : left + side] = True
    return Region.from_mask(Mask.from_array(array))


def mark(label: str, left: int, top: int, score: float | None = None) -> Finding:
    return Finding(label, region(left, top), score=score)


def test_only_cases_with_an_answer_and_a_truth_are_counted() -> None:
    manifest = set_of(
        *(labelled(key, label) for key, label in zip("abcd", ("cyst", "stone", None, "cyst"), strict=True))
    )
    answers = [said("d", 0.1), said("b", 0.9), said("c", 0.5), Prediction("a", refused="broken"), said("x", 0.4)]
    found = Assessment.of(manifest, answers, 0.5)
    assert [one.case_id for one in found.manifest.cases] == ["b", "d"]
    assert set(found.predictions) == {"b", "d"}
    assert found.truth.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, [[0.1, 0.9], [0.9, 0.1]])


def test_scores_follow_the_classes_of_the_data_set_and_not_the_order_they_were_said_in() -> None:
    manifest = set_of(labelled("a", "stone"))
    turned = Prediction("a", scores={"stone": 0.7, "cyst": 0.3})
    np.testing.assert_allclose(Assessment.of(manifest, [turned], 0.5).scores, [[0.3, 0.7]])


def test_of_several_labels_what_nobody_said_is_nan() -> None:
    cases = [case("a", labels={"cyst": True, "stone": None}), case("b", labels={"cyst": None, "stone": False})]
    nothing = case("c", labels={"cyst": None, "stone": None})
    found = Assessment.of(set_of(*cases, nothing, task="multi-label"), [said(key, 0.5) for key in "abc"], 0.5)
    np.testing.assert_array_equal(found.truth, [[1.0, np.nan], [np.nan, 0.0]])
    assert found.truth.dtype == np.float64


@pytest.mark.parametrize("task", ["single-label", "multi-label", "boxes", "masks"])
def test_where_nothing_is_left_there_are_rows_without_numbers_and_no_crash(task: str) -> None:
    found = Assessment.of(set_of(task=task), [], 0.5)
    assert found.scores.shape == (0, 2)
    rows = found.estimates(QUICK, seed=0)
    assert rows
    assert all(row.value is None for row in rows)
    assert found.judged() is None
    assert found.best_threshold() == DEFAULT_THRESHOLD
    assert found.case_scores() == {}


def _twenty(task="single-label") -> tuple[Manifest, list[Prediction], list[int], list[float]]:
    rng = np.random.default_rng(4)
    truth = [int(n % 2) for n in range(20)]
    scores = [float(np.clip(0.3 + 0.3 * one + rng.normal(0, 0.25), 0, 1)) for one in truth]
    cases = [labelled(f"c{n:02}", CLASSES[one], patient=f"p{n // 2}") for n, one in enumerate(truth)]
    return set_of(*cases, task=task), [said(f"c{n:02}", one) for n, one in enumerate(scores)], truth, scores


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_an_epoch_of_labels_is_judged_by_the_mean_auroc(task) -> None:
    manifest, answers, truth, scores = _twenty(task)
    found = Assessment.of(manifest, answers, 0.5)
    assert found.judged() == pytest.approx(roc_auc_score(truth, scores))
    rows = {(row.metric, row.class_name): row for row in found.estimates(QUICK, seed=0)}
    assert rows["auroc", "stone"].value == pytest.approx(roc_auc_score(truth, scores))
    assert rows["auroc", None].n_cases == 20
    assert rows["auroc", None].n_patients == 10


def test_an_epoch_without_both_classes_is_not_judged() -> None:
    manifest = set_of(labelled("a", "cyst"), labelled("b", "cyst"))
    assert Assessment.of(manifest, [said("a", 0.1), said("b", 0.7)], 0.5).judged() is None


def test_numbers_are_the_same_for_the_same_seed_and_level() -> None:
    manifest, answers, _, _ = _twenty()
    found = Assessment.of(manifest, answers, 0.5)
    section = EvaluationSection(draws=100, level=0.8)
    assert found.estimates(section, seed=3) == found.estimates(section, seed=3)
    assert {row.level for row in found.estimates(section, seed=3)} == {0.8}


@pytest.mark.parametrize("task", ["single-label", "boxes"])
def test_copies_under_other_names_make_no_interval_narrower(task) -> None:
    if task == "boxes":
        once = _marked(task)
        manifest, answers = once.manifest, list(once.predictions.values())
    else:
        manifest, answers, _, _ = _twenty()
        once = Assessment.of(manifest, answers, 0.5)
    cases = [(one, replace(one, case_id=f"{one.case_id}-{k}", patient_id=f"x{one.case_id}-{k}"))
             for one in manifest.cases for k in range(4)]  # fmt: skip
    copies = manifest.with_cases(tuple(copy for _, copy in cases))
    said_again = [replace(one, case_id=f"{one.case_id}-{k}") for one in answers for k in range(4)]
    groups = {copy.case_id: one.patient_id for one, copy in cases}
    tied = Assessment.of(copies, said_again, 0.5, groups)
    assert (tied.n_patients, tied.n_groups) == (len(cases), once.n_patients)
    pairs = list(zip(once.estimates(QUICK, seed=1), tied.estimates(QUICK, seed=1), strict=True))
    for one, two in pairs:
        assert (one.n_patients, 4 * one.n_cases) == (two.n_patients, two.n_cases)
        assert [two.value, two.low, two.high] == pytest.approx([one.value, one.low, one.high])
    loose = Assessment.of(copies, said_again, 0.5).estimates(QUICK, seed=1)
    rows = [(row, two) for row, (_, two) in zip(loose, pairs, strict=True) if row.low is not None]
    assert task == "boxes" or any(row.high - row.low < two.high - two.low for row, two in rows)


def test_an_epoch_of_a_model_that_restores_is_judged_by_its_mean_ssim() -> None:
    rng = np.random.default_rng(1)
    names = [one.name for one in metrics_of(RestorationQuestion)]
    answers = [
        Prediction(key, quality={quality_name(name, noise): rng.random() for name in names for noise in NOISE_LEVELS})
        for key in "abc"
    ]
    found = Assessment.of(set_of(*map(case, "abc"), task="reconstruction"), answers, 0.5)
    rows = {(row.metric, row.subgroup): row.value for row in found.estimates(QUICK, seed=0)}
    assert found.judged() == pytest.approx(rows["ssim", None])
    assert Assessment.of(found.manifest, [], 0.5).judged() is None


def _marked(task="masks") -> Assessment:
    truth = {
        "a": (mark("stone", 5, 5), mark("cyst", 30, 20)),
        "b": (),
        "c": (mark("stone", 20, 30),),
    }
    said_marks = {
        "a": (mark("stone", 5, 5, 0.9), mark("cyst", 31, 20, 0.7), mark("stone", 45, 35, 0.35)),
        "b": (mark("stone", 10, 10, 0.3),),
        "c": (mark("stone", 20, 30, 0.6), Finding("cyst", score=0.8)),
    }
    manifest = set_of(*(case(key, marks=marks) for key, marks in truth.items()), task=task)
    return Assessment.of(manifest, [Prediction(key, marks) for key, marks in said_marks.items()], 0.5)


@pytest.mark.parametrize("task", ["boxes", "masks"])
def test_marks_are_held_against_marks(task) -> None:
    found = _marked(task)
    assert [len(marks) for marks in found.true_marks.values()] == [2, 0, 1]
    assert [len(marks) for marks in found.found_marks.values()] == [3, 1, 1]  # what is said of a whole image is no mark
    rows = {(row.metric, row.class_name): row.value for row in found.estimates(QUICK, seed=0)}
    assert rows["tp_ap_50", "stone"] == 1.0
    assert rows["tp_ap_90", "cyst"] == 0.0
    assert found.judged() == pytest.approx(rows["coco_ap50", None])
    assert found.judged() == pytest.approx(1.0)


def test_the_operating_point_is_the_lowest_score_that_is_right() -> None:
    assert _marked().best_threshold() == 0.6


def test_each_case_may_have_an_operating_point_of_its_own() -> None:
    found = _marked()
    per_case = Assessment(found.manifest, found.predictions, {"a": 0.8, "b": 0.1, "c": 0.5})
    assert per_case.threshold_of("a") == 0.8
    assert found.threshold_of("a") == 0.5
    rows = {(row.metric, row.class_name): row.value for row in per_case.estimates(QUICK, seed=0)}
    assert rows["tp_ap_50", "stone"] == pytest.approx(2 / 3)  # the false mark of b is called
    assert rows["tp_ap_50", "cyst"] == 0.0  # that of a is not
    assert per_case.case_scores() == pytest.approx({"a": 2 / 3, "b": 0.0, "c": 1.0})
    assert found.case_scores() == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_where_no_mark_is_right_the_operating_point_is_the_usual_one() -> None:
    manifest = set_of(case("a", marks=(mark("stone", 5, 5),)), task="masks")
    assert Assessment.of(manifest, [Prediction("a", (mark("stone", 40, 30, 0.9),))], 0.0).best_threshold() == 0.5
    assert Assessment.of(manifest, [Prediction("a")], 0.0).best_threshold() == 0.5


def test_a_case_that_nobody_marked_is_not_counted_and_a_normal_one_is() -> None:
    manifest = set_of(case("a", marks=None), case("b", marks=()), task="boxes")
    found = Assessment.of(manifest, [Prediction("a"), Prediction("b")], 0.5)
    assert [one.case_id for one in found.manifest.cases] == ["b"]
    with pytest.raises(TruthAbsent):
        Assessment(manifest, {"a": Prediction("a")}).true_marks  # noqa: B018


def test_labels_are_scored_by_what_the_truth_got() -> None:
    manifest, answers, truth, scores = _twenty()
    found = Assessment.of(manifest, answers, 0.5).case_scores()
    expected = {f"c{n:02}": s if t else 1 - s for n, (t, s) in enumerate(zip(truth, scores, strict=True))}
    assert found == pytest.approx(expected)
    assert Assessment.of(manifest, answers, 0.5).best_threshold() == DEFAULT_THRESHOLD
