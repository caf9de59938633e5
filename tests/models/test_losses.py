"""Losses of image labels, against their formulas."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from overread.errors import UnknownName
from overread.models.losses import losses, reconstruction_losses

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
finite = st.floats(-20, 20, width=32)
rows = st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(finite, finite, finite), min_size=n, max_size=n))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_cross_entropy_is_minus_the_log_of_the_share_of_the_true_class(logits, random) -> None:
    truth = [random.randrange(3) for _ in logits]
    expected = np.mean([np.logaddexp.reduce(row) - row[t] for row, t in zip(np.float64(logits), truth, strict=True)])
    loss = losses.get("cross-entropy")(torch.tensor(logits), torch.tensor(truth))
    assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_bce_is_the_mean_over_what_is_known(logits, random) -> None:
    truth = [[random.choice([0.0, 1.0, float("nan")]) for _ in row] for row in logits]
    each = [
        softplus(-x) if t == 1 else softplus(x)
        for row, known in zip(logits, truth, strict=True)
        for x, t in zip(row, known, strict=True)
        if not math.isnan(t)
    ]
    loss = losses.get("bce")(torch.tensor(logits), torch.tensor(truth))
    assert float(loss) == pytest.approx(np.mean(each) if each else 0.0, rel=1e-4, abs=1e-5)


def test_bce_takes_class_indices_as_one_class_against_the_others() -> None:
    bce = losses.get("bce")
    expected = bce(LOGITS, torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert torch.equal(bce(LOGITS, torch.tensor([2, 0])), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@settings(max_examples=20, deadline=None)
@given(logits=rows, random=st.randoms(use_true_random=False))
def test_focal_is_cross_entropy_times_a_power_of_what_is_missing(gamma: float, logits, random) -> None:
    truth = torch.tensor([random.randrange(3) for _ in logits])
    shares = torch.tensor(logits, dtype=torch.float64).softmax(1)
    own = shares[range(len(logits)), truth]
    loss = losses.get("focal")(torch.tensor(logits), truth, focal_gamma=gamma)
    assert float(loss) == pytest.approx(float(-((1 - own) ** gamma * own.log()).mean()), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_of_several_labels_is_that_of_torchvision(gamma: float) -> None:
    from torchvision.ops import sigmoid_focal_loss

    truth = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    expected = sigmoid_focal_loss(LOGITS, truth, alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(losses.get("focal")(LOGITS, truth, focal_gamma=gamma), expected)


def test_focal_of_one_class_alone_is_zero_as_cross_entropy_is() -> None:
    logits = torch.ones(2, 1, requires_grad=True)
    loss = losses.get("focal")(logits, torch.tensor([0, 0]))
    loss.backward()
    assert loss == 0
    assert torch.isfinite(logits.grad).all()


def test_cross_entropy_weighs_and_smooths_as_torch_does() -> None:
    truth, weights = torch.tensor([2, 1]), torch.tensor([0.5, 2.0, 3.0])
    each = functional.cross_entropy(LOGITS, truth, weight=weights, reduction="none")
    torch.testing.assert_close(losses.get("cross-entropy")(LOGITS, truth, weights[truth]), each.mean())
    smooth = functional.cross_entropy(LOGITS, truth, label_smoothing=0.1)
    torch.testing.assert_close(losses.get("cross-entropy")(LOGITS, truth, label_smoothing=0.1), smooth)


def test_cross_entropy_and_bce_are_the_log_loss_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    expected = log_loss([2, 1], LOGITS.double().softmax(1), labels=[0, 1, 2])
    assert float(losses.get("cross-entropy")(LOGITS, torch.tensor([2, 1]))) == pytest.approx(expected)
    truth = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    expected = log_loss(truth.flatten(), LOGITS.double().sigmoid().flatten())
    assert float(losses.get("bce")(LOGITS, truth)) == pytest.approx(expected)


def test_bce_weighs_positives_as_torch_does() -> None:
    truth, positive = torch.tensor([[1.0, 0, 1], [0, 0, 1]]), torch.tensor([3.0, 1.0, 0.5])
    expected = functional.binary_cross_entropy_with_logits(LOGITS, truth, pos_weight=positive)
    weights = torch.where(truth == 1, positive, 1.0)
    torch.testing.assert_close(losses.get("bce")(LOGITS, truth, weights), expected)


@pytest.mark.parametrize("several", [True, False])
def test_dice_is_one_minus_twice_the_overlap_by_both_sizes_with_one_right_case_more(several: bool) -> None:
    truth = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    scores = LOGITS.sigmoid() if several else LOGITS.softmax(1)
    shares = (2 * (scores * truth).sum(0) + 1) / (scores.square().sum(0) + truth.sum(0) + 1)
    found = losses.get("dice")(LOGITS, truth if several else torch.tensor([0, 2]))
    torch.testing.assert_close(found, 1 - shares.mean())


def test_dice_and_focal_are_those_of_monai() -> None:
    from monai.losses import DiceLoss, FocalLoss

    logits, one = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 1.0, 0.0]]), torch.tensor([2, 0, 0])
    shown, several = functional.one_hot(one, 3).float(), torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 1, 0]])
    for labels, truth, way in ((one, shown, {"softmax": True}), (several, several, {"sigmoid": True})):
        theirs = DiceLoss(batch=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0, **way)
        torch.testing.assert_close(losses.get("dice")(logits, labels), theirs(logits[..., None], truth[..., None]))
    each = FocalLoss(gamma=2.0, use_softmax=True, reduction="none")(logits, shown)
    torch.testing.assert_close(losses.get("focal")(logits, one), each.sum(1).mean())
    torch.testing.assert_close(losses.get("focal")(logits, several), FocalLoss(gamma=2.0)(logits, several))


def test_dice_leaves_out_a_class_of_which_a_batch_knows_nothing() -> None:
    truth = torch.tensor([[1.0, float("nan"), 0], [0, float("nan"), 1]])
    chosen = [0, 2]
    expected = losses.get("dice")(LOGITS[:, chosen], truth[:, chosen])
    torch.testing.assert_close(losses.get("dice")(LOGITS, truth), expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", functional.l1_loss),
        ("l2", functional.mse_loss),
        ("huber", partial(functional.huber_loss, delta=0.5)),
    ],
)
def test_distances_are_those_of_torch_between_images_and_between_scores_and_truth(name: str, expected) -> None:
    image, other = torch.rand(2, 1, 3, 4), 3 * torch.rand(2, 1, 3, 4)
    torch.testing.assert_close(reconstruction_losses.get(name)(image, other), expected(image, other))
    truth = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    torch.testing.assert_close(losses.get(name)(LOGITS, truth), expected(LOGITS.sigmoid(), truth))
    one = torch.tensor([[0.0, 0, 1], [1, 0, 0]])
    torch.testing.assert_close(losses.get(name)(LOGITS, torch.tensor([2, 0])), expected(LOGITS.softmax(1), one))


def test_an_unknown_loss_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"No loss is called 'crossentropy'\. Did you mean 'cross-entropy'"):
        losses.get("crossentropy")
