"""What the families that label images share: the loss that fits, its settings, and scores."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from overread.errors import RecipeError, TruthAbsent, UnknownName
from overread.models.contract import Batch, Shape
from overread.models.labelling import Labelling, LabelSettings
from overread.models.losses import losses

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
LABELS = {"single-label": torch.tensor([2, 1]), "multi-label": torch.tensor([[1.0, float("nan"), 0], [0, 1, 1]])}


def labelling(task="single-label", **options) -> Labelling:
    return Labelling(LabelSettings(**options), Shape(task, 3, 1))


def batch_of(task: str, weights=None) -> Batch:
    return Batch(torch.zeros(2, 1, 4, 4), ("a", "b"), targets=LABELS[task], weights=weights)


@pytest.mark.parametrize(("task", "name"), [("single-label", "cross-entropy"), ("multi-label", "bce")])
def test_the_loss_fits_the_task_unless_another_is_named(task: str, name: str) -> None:
    assert list(labelling(task).loss(LOGITS, batch_of(task))) == [name]
    for other in losses:
        if (task, other) != ("multi-label", "cross-entropy"):
            found = labelling(task, loss=other).loss(LOGITS, batch_of(task))
            assert found == {other: losses.get(other)(LOGITS, LABELS[task])}


def test_settings_of_a_loss_reach_it() -> None:
    smooth = labelling(label_smoothing=0.2).loss(LOGITS, batch_of("single-label"))["cross-entropy"]
    expected = functional.cross_entropy(LOGITS, LABELS["single-label"], label_smoothing=0.2)
    torch.testing.assert_close(smooth, expected)
    plain = labelling("multi-label", loss="focal", focal_gamma=0).loss(LOGITS, batch_of("multi-label"))["focal"]
    torch.testing.assert_close(plain, losses.get("bce")(LOGITS, LABELS["multi-label"]))


@pytest.mark.parametrize("task", list(LABELS))
def test_the_weights_of_a_batch_reach_the_loss(task: str) -> None:
    weights = torch.full(LABELS[task].shape, 3.0)
    (weighted,) = labelling(task).loss(LOGITS, batch_of(task, weights)).values()
    (plain,) = labelling(task).loss(LOGITS, batch_of(task)).values()
    torch.testing.assert_close(weighted, 3 * plain)


def test_scores_are_shares_where_one_class_applies_and_stand_alone_where_several_do() -> None:
    shares = labelling("single-label").scores(LOGITS.bfloat16())
    assert shares.dtype == torch.float32
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    torch.testing.assert_close(labelling("multi-label").scores(LOGITS), 1 / (1 + (-LOGITS).exp()))


def test_a_setting_that_the_loss_does_not_have_is_refused_and_not_ignored() -> None:
    with pytest.raises(RecipeError, match=r"model\.label_smoothing: only the loss cross-entropy .*here .*'focal'"):
        labelling(loss="focal", label_smoothing=0.1)
    with pytest.raises(RecipeError, match=r"model\.focal_gamma: only the loss focal .*here .*'bce'"):
        labelling("multi-label", focal_gamma=1.0)


def test_a_loss_for_one_class_is_refused_where_several_may_apply_and_an_unknown_one_is_answered_with_names() -> None:
    with pytest.raises(RecipeError, match="here several may"):
        labelling("multi-label", loss="cross-entropy")
    with pytest.raises(UnknownName, match=r"'vocal'\. Did you mean 'focal'"):
        labelling(loss="vocal")


@pytest.mark.parametrize("wrong", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"focal_gamma": -1}])
def test_a_setting_out_of_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        LabelSettings(**wrong)


def test_truth_that_is_absent_is_asked_for_by_name() -> None:
    with pytest.raises(TruthAbsent, match="'labels'"):
        labelling().loss(LOGITS, Batch(torch.zeros(2, 1, 4, 4), ("a", "b")))
