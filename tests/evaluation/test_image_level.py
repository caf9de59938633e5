from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from overread.evaluation.image_level import image_level_measured
from overread.evaluation.localisation import localisation_estimates
from overread.finding import Finding, Region

Sides = tuple[dict[str, list[Finding]], dict[str, list[Finding]]]


def mark(label: str, score: float | None = None, left: float = 0.0) -> Finding:
    return Finding(label, Region((left, 0, left + 5, 5)), score=score)


def measured(truth, predicted, classes=("mass", "cyst"), threshold=0.5, patients=None):
    patients = patients or {case: case for case in truth}
    rows = image_level_measured(truth, predicted, classes, patients, threshold=threshold, draws=100, seed=1)
    return {(row.metric, row.class_name): row for row in rows}


def test_the_score_of_an_image_is_that_of_its_highest_mark_of_the_class(
    drawn_marks: Callable[..., Sides],
) -> None:
    truth, predicted = drawn_marks(3, images=24)
    found = measured(truth, predicted)
    for label in ("mass", "cyst"):
        shows = [any(one.label == label for one in truth[case]) for case in truth]
        highest = [max((one.score for one in predicted[case] if one.label == label), default=0) for case in truth]
        assert found["image_auroc", label].value == pytest.approx(roc_auc_score(shows, highest))
        called = np.array(highest) >= 0.5
        assert found["image_sensitivity", label].value == pytest.approx(called[np.array(shows)].mean())
        assert found["image_specificity", label].value == pytest.approx(1 - called[~np.array(shows)].mean())


def test_an_image_is_called_wherever_its_mark_lies_and_each_at_the_point_of_its_own_fold() -> None:
    truth = {"a": [mark("mass")], "b": [mark("mass")], "c": [], "d": []}
    predicted = {"a": [mark("mass", 0.6, left=50)], "b": [mark("mass", 0.6)], "c": [mark("mass", 0.6)], "d": []}
    points = {"a": 0.5, "b": 0.7, "c": 0.7, "d": 0.0}
    found = measured(truth, predicted, classes=("mass",), threshold=points)
    assert found["image_sensitivity", "mass"].value == 0.5  # b does not reach the point of its fold
    assert found["image_specificity", "mass"].value == 1.0  # and an image without any mark is not called at any point


def test_a_mark_right_at_the_operating_point_calls_its_image() -> None:
    found = measured({"a": [mark("mass")], "b": []}, {"a": [mark("mass", 0.5)], "b": []}, classes=("mass",))
    assert found["image_sensitivity", "mass"].value == 1.0


def test_the_mean_of_the_classes_counts_an_image_with_several_of_them_once() -> None:
    truth = {"a": [mark("mass"), mark("cyst")], "b": [mark("cyst")], "c": []}
    found = measured(truth, {case: [] for case in truth})
    counts = {
        label: found["image_auroc", label].estimate(level=0.95, subgroup=None).n_positive
        for label in ("mass", "cyst", None)
    }
    assert counts == {"mass": 1, "cyst": 2, None: 2}


def test_where_every_image_shows_the_class_nothing_can_be_told_apart_and_the_reason_is_said() -> None:
    truth = {case: [mark("mass")] for case in "abc"}
    predicted = {case: [mark("mass", 0.9)] for case in "abc"}
    found = measured(truth, predicted, classes=("mass",))
    assert found["image_sensitivity", "mass"].value == 1.0
    for name in ("image_auroc", "image_specificity"):
        for label in ("mass", None):
            assert np.isnan(found[name, label].value)
            assert "negative" in found[name, label].says


def test_the_interval_rests_on_patients_and_not_on_their_images() -> None:
    truth = {f"{i}": [mark("mass")] if i % 2 else [] for i in range(12)}
    predicted = {case: [mark("mass", 0.9)] if int(case) % 3 else [] for case in truth}
    one = measured(truth, predicted, patients=dict.fromkeys(truth, "p"))["image_sensitivity", "mass"]
    assert one.support == 1
    assert one.estimate(level=0.95, subgroup=None).low is None


def test_numbers_of_images_and_numbers_of_lesions_have_no_name_in_common(drawn_marks: Callable[..., Sides]) -> None:
    truth, predicted = drawn_marks(1)
    patients = {case: case for case in truth}
    lesions = localisation_estimates(
        truth, predicted, ("mass", "cyst"), patients, kind="boxes", threshold=0.5, draws=100, level=0.95, seed=1
    )
    images = {name for name, _ in measured(truth, predicted)}
    assert images == {"image_auroc", "image_sensitivity", "image_specificity"}
    assert not images & {one.metric for one in lesions}
