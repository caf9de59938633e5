"""What a person is told beside the answers."""

from types import SimpleNamespace
from typing import Any

import pytest

from overread.data.section import DataSection
from overread.evaluation.estimate import Estimate
from overread.pipeline.model_words import healthy_classes, measured_words


def row(metric: str, class_name: str | None, value: float | None, positive: int = 10) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return Estimate(metric, class_name, None, value, low, high, 0.95, 60, 20, positive, "drawn").as_json()


def bundle(
    task: str,
    *rows: dict[str, Any],
    networks: int = 1,
    asked: int | None = None,
    simulated: bool = False,
    data: DataSection | None = None,
) -> Any:
    return SimpleNamespace(
        task=task,
        evaluation=rows,
        threshold=0.625,
        folds=[None] * networks,
        asked=[None] * (asked or networks),
        simulated=simulated,
        recipe=SimpleNamespace(data=data or DataSection()),
        accepted_leaks=(),
        unit="image",
    )


def test_a_reader_is_told_the_rule_and_how_many_images_it_called_rightly() -> None:
    rule, said = measured_words(
        bundle("single-label", row("accuracy", None, 0.8), row("auroc", None, 0.85), row("sensitivity", "stone", 0.7))
    )
    assert rule == "The class with the highest score is the answer, by however little it leads."
    assert said == (
        "On 60 images that were held out from its training: 7 of 10 stone called so (0.700 [0.600, 0.800]); "
        "AUROC 0.850 [0.750, 0.950]. In brackets are 95% intervals. Other images can be harder."
    )


def test_what_a_model_of_normal_images_calls_is_no_disease() -> None:
    rows = row("sensitivity", "stone", 0.7), row("sensitivity", "normal", 0.6), row("auroc", None, 0.85)
    _, said = measured_words(bundle("single-label", *rows), knows_only="normal")
    assert "7 of 10 stone called not normal (" in said
    assert "6 of 10 normal called so (" in said


def test_the_images_that_were_measured_are_counted_also_where_few_say_anything_of_a_class() -> None:
    few = {**row("sensitivity", "nodule", 0.5), "n_cases": 20}
    _, said = measured_words(bundle("multi-label", row("auroc", None, 0.85), few))
    assert said.startswith("On 60 images")


def test_where_classes_do_not_exclude_each_other_the_rule_is_another_one() -> None:
    rule, _ = measured_words(bundle("multi-label", row("auroc", None, 0.85)))
    assert rule == "A class is called present from a score of 0.50 on."


def test_a_reader_of_marks_is_told_how_many_are_found_and_how_many_are_false() -> None:
    rule, said = measured_words(
        bundle(
            "boxes",
            row("coco_ap50", None, 0.5),
            row("tp_ap_50", "cell", 0.4),
            row("marks_found", "cell", 751 / 968, 968),
            row("marks_found", "stone", 0.0, 3),
            row("false_marks", "cell", 3.2, 968),
            row("false_marks", "stone", 0.05, 3),
        )
    )
    assert rule == "A mark is shown where its score is 0.62 or higher."
    assert said == (
        "On 60 images that were held out from its training, at a score of 0.62 or higher: 751 of 968 cell found "
        "(0.776 [0.676, 0.876]), 3.2 false marks an image; 0 of 3 stone found (0.000 [-0.100, 0.100]), 5 false marks "
        "in 100 images. A mark is right where it shares with a true mark of its class at least half of what the two "
        "cover (IoU 0.50). In brackets are 95% intervals. Other images can be harder."
    )


def test_each_fold_that_was_counted_at_its_own_score_is_said_to_be() -> None:
    counted = row("marks_found", "cell", 0.5), row("false_marks", "cell", 0.0)
    _, said = measured_words(bundle("masks", row("tp_ap_50", "cell", 0.4), *counted, networks=3))
    assert "each fold at the score that it chose: 5 of 10 cell found (0.500 [0.400, 0.600]), no" in said


def test_a_bundle_from_before_marks_were_counted_is_told_by_its_precision() -> None:
    _, said = measured_words(bundle("masks", row("coco_ap50", None, 0.5), row("tp_ap_50", "stone", 0.4)))
    assert "average precision (COCO, IoU 0.50) 0.500 [0.400, 0.600]" in said
    assert "right / (right + false + missed), IoU 0.50 for stone (10 true marks) 0.400" in said


def test_numbers_of_simulated_images_are_said_to_be_so() -> None:
    _, said = measured_words(bundle("single-label", row("auroc", None, 0.8), simulated=True))
    assert said.startswith("On 60 simulated images")


@pytest.mark.parametrize(
    ("classes", "healthy"),
    [
        (("normal", "pneumonia"), ("normal",)),
        (("malignant", "normal or benign"), ("normal or benign",)),
        (("Benign", "malignant", "Normal"), ("Benign", "Normal")),
        (("No_Finding", "effusion"), ("No_Finding",)),
        (("sick", "normal, benign"), ("normal, benign",)),
        (("abnormal", "stone"), ()),
        (("benign tumour", "no"), ()),
        (("normal", "healthy"), ()),  # then nothing is left to be suspicious
        (("melanoma", "nevus", ""), ()),
    ],
)
def test_which_classes_are_healthy_is_known_by_their_names_and_not_by_how_common_they_are(
    classes: tuple[str, ...], healthy: tuple[str, ...]
) -> None:
    assert healthy_classes(SimpleNamespace(classes=classes, task="single-label")) == healthy
    assert healthy_classes(SimpleNamespace(classes=classes, task="boxes")) == ()


def test_a_model_of_one_class_says_which_one_is_healthy() -> None:
    assert healthy_classes(SimpleNamespace(classes=("a", "normal")), knows_only="a") == ("a",)


def test_a_model_that_was_not_measured_says_so() -> None:
    assert measured_words(bundle("boxes", row("coco_ap50", None, None))) == [
        "This model does not say how good it was found to be."
    ]


def test_a_class_that_was_not_measured_is_named_and_not_passed_over() -> None:
    _, said = measured_words(bundle("single-label", row("auroc", None, 0.8), row("sensitivity", "stone", None)))
    assert "sensitivity for stone (10 images) not defined: drawn" in said


def test_the_average_of_folds_is_not_said_to_have_been_measured() -> None:
    _, said = measured_words(bundle("single-label", row("auroc", None, 0.8), networks=5))
    assert said.startswith("On 60 images, each answered by the one of its 5 networks that had not learned from it:")
    assert said.endswith("All networks together, which answer here, were not measured.")
    _, said = measured_words(bundle("single-label", row("auroc", None, 0.8), networks=5, asked=1))
    assert said.endswith("One of these networks, that of the first fold, answers here.")
    repeated = DataSection(scheme="repeated-k-fold", repeats=3)
    _, said = measured_words(bundle("single-label", row("auroc", None, 0.8), networks=15, data=repeated))
    assert said.startswith("On 60 images, each answered by the 3 of its 15 networks that had not learned from it:")


def test_who_reads_answers_is_told_that_a_leak_was_accepted() -> None:
    leaky = bundle("single-label", row("auroc", None, 0.8))
    leaky.accepted_leaks = ("LEAK ACCEPTED: 4 cases",)
    assert measured_words(leaky)[-1] == "LEAK ACCEPTED: 4 cases"
