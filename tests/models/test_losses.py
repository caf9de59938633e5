"""Losses of image labels, against their formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.errors import UnknownName
from overread.models.losses import losses

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


def test_what_is_not_known_moves_no_weight() -> None:
    logits = LOGITS.clone().requires_grad_()
    losses.get("bce")(logits, torch.tensor([[1.0, float("nan"), 0.0], [float("nan")] * 3])).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == [[True, False, True], [False, False, False]]


def test_a_batch_of_which_nothing_is_known_has_loss_zero_and_a_gradient_of_zero() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = losses.get("bce")(logits, torch.full((2, 3), float("nan")))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_bce_takes_class_indices_as_one_class_against_the_others() -> None:
    bce = losses.get("bce")
    expected = bce(LOGITS, torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert torch.equal(bce(LOGITS, torch.tensor([2, 0])), expected)


@pytest.mark.parametrize("name", list(losses))
def test_a_loss_is_computed_in_full_precision_and_stays_finite_for_certain_answers(name: str) -> None:
    logits = torch.tensor([[90.0, -90.0], [-90.0, 90.0]], dtype=torch.bfloat16)
    loss = losses.get(name)(logits, torch.tensor([1, 0]))
    assert loss.dtype == torch.float32
    assert loss.ndim == 0
    assert 80 < float(loss) < 200


def test_an_unknown_loss_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"No loss is called 'crossentropy'\. Did you mean 'cross-entropy'"):
        losses.get("crossentropy")
