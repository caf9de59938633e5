import contextlib
import io

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from overread.errors import InputError, UndefinedMetric
from overread.evaluation.estimate import Estimate
from overread.evaluation.localisation import choose_threshold, coco_ap50, localisation_estimates, tp_ap_50
from overread.evaluation.marks import MarkQuestion
from overread.evaluation.metric import metrics_of
from overread.finding import Finding, Region

CLASSES = ("mass", "cyst")


def find(estimates: list[Estimate], name: str, class_name: str | None = None) -> Estimate:
    (found,) = [e for e in estimates if e.metric == name and e.class_name == class_name]
    return found


def estimated(truth, predicted, patients=None, classes=CLASSES, **more):
    settings = {"kind": "boxes", "threshold": 0.5, "draws": 100, "level": 0.95, "seed": 1, **more}
    return localisation_estimates(
        truth, predicted, classes, {case: case for case in truth} if patients is None else patients, **settings
    )


def mark(box, score=None, label="mass"):
    return Finding(label, Region(box), score=score)


def reference(truth, predicted, kind, limit):
    """AP, AP50 and AP75 of an independent implementation, over all classes and for each."""
    cases = sorted(truth)
    annotations, results = [], []
    for image, case in enumerate(cases, start=1):
        for side, rows in ((truth, annotations), (predicted, results)):
            for one in side[case]:
                left, top, right, bottom = one.region.box
                row = {"image_id": image, "category_id": CLASSES.index(one.label) + 1, "iscrowd": 0}
                row |= {"bbox": [left, top, right - left, bottom - top], "segmentation": one.region.mask.to_coco()}
                row |= {"id": len(rows) + 1, "area": one.region.mask.area_px}
                rows.append(row if one.score is None else row | {"score": one.score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(
            {
                "info": {},
                "images": [{"id": i, "width": 48, "height": 48} for i in range(1, len(cases) + 1)],
                "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
                "annotations": annotations,
            }
        )
        run = COCOeval_faster(coco, coco.loadRes(results), "segm" if kind == "masks" else "bbox")
        run.params.maxDets = [1, 2, limit]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, 2]  # IoU, recall, class
    return {
        "coco_ap": precision.mean(axis=(0, 1)),
        "coco_ap50": precision[0].mean(axis=0),
        "coco_ap75": precision[5].mean(axis=0),
    }


@pytest.mark.parametrize("kind", ["boxes", "masks"])
@pytest.mark.parametrize("limit", [3, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_coco(drawn_marks, kind, limit, seed):
    truth, predicted = drawn_marks(seed, images=20)
    ours = estimated(truth, predicted, kind=kind, max_detections=limit, draws=0)
    for name, values in reference(truth, predicted, kind, limit).items():
        assert find(ours, name).value == pytest.approx(values.mean(), abs=1e-6)
        for label, value in zip(CLASSES, values, strict=True):
            assert find(ours, name, label).value == pytest.approx(value, abs=1e-6)


def test_every_number_by_hand():
    truth = {"a": [mark((0, 0, 10, 10)), mark((20, 20, 30, 30))], "b": [mark((0, 0, 10, 10))], "normal": []}
    predicted = {
        "a": [mark((0, 0, 10, 10), 0.9), mark((20, 20, 30, 28), 0.8)],  # IoU 1 and 0.8
        "b": [mark((40, 40, 50, 50), 0.7)],  # elsewhere
        "normal": [mark((0, 0, 5, 5), 0.6), mark((0, 0, 5, 5), 0.4)],  # false; the second below the threshold
    }
    rows = estimated(truth, predicted, classes=("mass",))
    assert find(rows, "tp_ap_50").value == pytest.approx(2 / (2 + 2 + 1))
    assert find(rows, "tp_ap_70").value == pytest.approx(2 / (2 + 2 + 1))
    assert find(rows, "tp_ap_90").value == pytest.approx(1 / (1 + 3 + 2))
    assert find(rows, "marks_found").value == pytest.approx(2 / 3)
    assert find(rows, "false_marks").value == pytest.approx(2 / 3)  # two in three images
    assert find(rows, "instance_dice").value == pytest.approx((1 + 2 * 0.8 / 1.8) / 2)
    # precision 1 up to recall 2/3: 67 of COCO's 101 points
    assert find(rows, "coco_ap50").value == pytest.approx(67 / 101)
    # IoU 0.85, 0.90 and 0.95 keep one mark of three: 34 points
    assert find(rows, "coco_ap").value == pytest.approx((7 * 67 + 3 * 34) / 1010)
    assert {(row.n_cases, row.n_patients, row.n_positive) for row in rows} == {(3, 3, 3)}


def test_an_image_with_weight_three_counts_like_three_images(drawn_marks):
    truth, predicted = drawn_marks(7)
    weights = np.random.default_rng(0).integers(0, 4, size=len(truth))
    copies = [(case, f"{case}/{copy}") for case, n in zip(truth, weights, strict=True) for copy in range(n)]
    one = MarkQuestion.ask(truth, predicted, label="mass", kind="boxes")
    many = {name: truth[case] for case, name in copies}, {name: predicted[case] for case, name in copies}
    for metric in metrics_of(MarkQuestion):
        weighted = metric.over_draws(one.drawn(weights[None].astype(float)))[0]
        assert weighted == pytest.approx(metric(*many, label="mass", kind="boxes"), abs=1e-12), metric.name


def test_the_order_of_images_does_not_matter(drawn_marks):
    truth, predicted = drawn_marks(3)
    backwards = dict(reversed(truth.items())), dict(reversed(predicted.items()))
    assert estimated(truth, predicted) == estimated(*backwards)


def test_a_mark_on_a_normal_image_is_false():
    truth = {"a": [mark((0, 0, 10, 10))], "normal": []}
    clean = {"a": [mark((0, 0, 10, 10), 0.8)], "normal": []}
    noisy = {**clean, "normal": [mark((0, 0, 10, 10), 0.9)]}
    for metric in (coco_ap50, tp_ap_50):
        assert metric(truth, clean, label="mass", kind="boxes") == 1
        assert metric(truth, noisy, label="mass", kind="boxes") == pytest.approx(0.5)


def test_false_marks_of_several_classes_are_added_up_and_not_averaged():
    said = [mark((40, 40, 50, 50), 0.7), mark((60, 60, 70, 70), 0.8, label="cyst")]
    rows = estimated({"a": [mark((0, 0, 10, 10))], "b": []}, {"a": said, "b": []}, classes=("mass", "cyst"))
    assert [find(rows, "false_marks", name).value for name in ("mass", "cyst")] == [0.5, 0.5]
    assert find(rows, "false_marks").value == 1.0
    assert "sum over 2 classes" in find(rows, "false_marks").method


def test_normal_images_alone_define_no_number_but_that_of_false_marks():
    rows = estimated({"a": [], "b": []}, {"a": [], "b": [mark((0, 0, 5, 5), 0.9)]})
    assert {row.metric for row in rows if row.value is not None} == {"false_marks"}
    assert find(rows, "false_marks", "mass").value == 0.5
    assert find(rows, "coco_ap", "mass").method == "undefined: coco_ap needs true marks; found none"
    assert find(rows, "coco_ap").n_cases == 2


def test_without_a_match_there_is_no_dice_and_the_rest_is_nought():
    rows = estimated({"a": [mark((0, 0, 9, 9))]}, {"a": []}, classes=("mass",))
    assert find(rows, "instance_dice").value is None
    assert "needs matched marks" in find(rows, "instance_dice").method
    assert find(rows, "coco_ap").value == find(rows, "tp_ap_50").value == 0


def test_values_lie_in_their_intervals_between_nought_and_one(drawn_marks):
    truth, predicted = drawn_marks(11, images=60)
    for row in estimated(truth, predicted, kind="masks"):
        assert 0 <= row.low <= row.value <= row.high <= 1


def test_images_of_one_patient_are_drawn_together(drawn_marks):
    truth, predicted = drawn_marks(5, images=20)
    copies = [(case, f"{case}-{i}") for case in truth for i in range(4)]
    many = {name: truth[case] for case, name in copies}, {name: predicted[case] for case, name in copies}
    by_patient = find(estimated(*many, {name: case for case, name in copies}), "tp_ap_50")
    by_image = find(estimated(*many), "tp_ap_50")
    assert by_patient.value == by_image.value
    assert by_patient.high - by_patient.low > 1.4 * (by_image.high - by_image.low)


@pytest.mark.parametrize(
    ("predicted", "patients", "message"),
    [
        ({}, {"a": "P"}, "on one side only"),
        ({"a": []}, {}, "have no patient"),
        ({"a": [mark((0, 0, 1, 1), 0.5, "mas")]}, {"a": "P"}, "Did you mean 'mass'"),
    ],
)
def test_what_does_not_fit_together_is_refused(predicted, patients, message):
    with pytest.raises(InputError, match=message):
        estimated({"a": []}, predicted, patients)


def test_the_chosen_threshold_is_the_best_of_all(drawn_marks):
    truth, predicted = drawn_marks(2, images=30)
    scores = sorted({one.score for marks in predicted.values() for one in marks})
    values = [find(estimated(truth, predicted, threshold=score, draws=0), "tp_ap_50").value for score in scores]
    assert choose_threshold(truth, predicted, "boxes") == scores[int(np.argmax(values))]


def test_no_threshold_is_chosen_where_nothing_is_right():
    with pytest.raises(UndefinedMetric, match="No threshold"):
        choose_threshold({"a": [mark((0, 0, 5, 5))]}, {"a": [mark((30, 30, 35, 35), 0.9)]}, "boxes")
