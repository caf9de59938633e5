"""What a person is told beside the answers."""

from types import SimpleNamespace
from typing import Any

from overread.evaluation.estimate import Estimate
from overread.pipeline.presenting import measured_words


def row(metric: str, class_name: str | None, value: float | None) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return Estimate(metric, class_name, None, value, low, high, 0.95, 60, 20, 9, "drawn").as_json()


def bundle(task: str, *rows: dict[str, Any], networks: int = 1) -> Any:
    return SimpleNamespace(task=task, evaluation=rows, threshold=0.625, folds=[None] * networks)


def test_a_reader_is_told_how_good_the_model_was_on_held_out_images_and_what_it_misses() -> None:
    (said,) = measured_words(
        bundle("single-label", row("accuracy", None, 0.8), row("auroc", None, 0.85), row("sensitivity", "stone", 0.7))
    )
    assert said == (
        "On 60 images that were held out from its training: AUROC 0.850 [0.750, 0.950]; "
        "sensitivity for stone (9 images) 0.700 [0.600, 0.800]. In brackets are 95% intervals. Other images can be "
        "harder."
    )


def test_a_reader_of_marks_is_told_from_which_score_on_they_are_shown() -> None:
    said = measured_words(bundle("masks", row("coco_ap50", None, 0.5), row("tp_ap_50", "stone", 0.4)))
    assert "average precision (COCO, IoU 0.50) 0.500 [0.400, 0.600]" in said[0]
    assert "right / (right + false + missed), IoU 0.50 for stone (9 true marks) 0.400" in said[0]
    assert said[1] == "A mark is shown where its score is 0.62 or higher."


def test_a_model_that_was_not_measured_says_so() -> None:
    assert measured_words(bundle("boxes", row("coco_ap50", None, None))) == [
        "This model does not say how good it was found to be."
    ]


def test_a_class_that_was_not_measured_is_named_and_not_passed_over() -> None:
    (said,) = measured_words(bundle("single-label", row("auroc", None, 0.8), row("sensitivity", "stone", None)))
    assert "sensitivity for stone (9 images) not defined: drawn" in said


def test_the_average_of_folds_is_not_said_to_have_been_measured() -> None:
    (said,) = measured_words(bundle("single-label", row("auroc", None, 0.8), networks=5))
    assert said.startswith("On 60 images, each answered by the one of its 5 networks that had not learned from it:")
    assert said.endswith("All networks together, which answer here, were not measured.")
