"""What every loss of labels promises, and every loss between images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from overread.models.losses import losses, reconstruction_losses

NAN = float("nan")
FEW = settings(max_examples=30, deadline=None)
SEVERAL = [name for name in losses if name != "cross-entropy"]
KINDS = [(name, True) for name in losses] + [(name, False) for name in SEVERAL]
every_kind = pytest.mark.parametrize(("name", "one_of"), KINDS)

logits_drawn = arrays("float32", (4, 3), elements=st.floats(-20, 20, width=32)).map(torch.from_numpy)
labels_drawn = arrays("float32", (4, 3), elements=st.sampled_from([0.0, 1.0, NAN])).map(torch.from_numpy)
classes_drawn = arrays("int64", 4, elements=st.integers(0, 2)).map(torch.from_numpy)
truth_drawn = st.tuples(classes_drawn, labels_drawn)


def weights_for(labels: Tensor) -> Tensor:
    """Weights of another size for every case, and for every label where there are several."""
    return torch.arange(1, labels.numel() + 1).reshape(labels.shape) / 4


def certain(labels: Tensor) -> Tensor:
    """The logits that say the truth without doubt."""
    truth = torch.nn.functional.one_hot(labels, 3) if labels.ndim == 1 else labels.nan_to_num(0)
    return 100.0 * truth - 50.0


@every_kind
@FEW
@given(logits_drawn, truth_drawn)
def test_a_loss_is_finite_never_below_zero_and_lowest_for_the_truth(name: str, one_of: bool, logits, truth) -> None:
    labels = truth[0] if one_of else truth[1]
    loss = losses.get(name)(logits, labels)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert loss >= 0
    assert losses.get(name)(certain(labels), labels) <= loss + 1e-6


@every_kind
def test_an_answer_that_is_nearer_to_the_truth_costs_less(name: str, one_of: bool) -> None:
    labels = torch.tensor([0, 2, 1]) if one_of else torch.tensor([[1.0, 0, 1], [NAN, 0, 0], [1, 1, NAN]])
    steps = [float(losses.get(name)(share * certain(labels), labels)) for share in (-1, -0.1, 0.0, 0.02, 0.1, 1)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps[:5])) == 5
    assert steps[-1] == pytest.approx(0, abs=1e-6)


@every_kind
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_are_finite_for_answers_without_doubt_right_or_wrong(name: str, one_of: bool, sign: int) -> None:
    labels = torch.tensor([0, 2]) if one_of else torch.tensor([[1.0, 0, NAN], [0, 1, 1]])
    logits = (sign * certain(labels)).requires_grad_()
    losses.get(name)(logits, labels, weights_for(labels)).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", SEVERAL)
@FEW
@given(logits_drawn, labels_drawn, logits_drawn)
def test_what_is_not_known_neither_costs_nor_teaches(name: str, weighted: bool, logits, labels, others) -> None:
    weights = weights_for(labels) if weighted else None
    asked = logits.clone().requires_grad_()
    loss = losses.get(name)(asked, labels, weights)
    loss.backward()
    unknown = labels.isnan()
    assert not asked.grad[unknown].any()
    assert torch.equal(losses.get(name)(torch.where(unknown, others, logits), labels, weights), loss.detach())
    if unknown.all():
        assert loss == 0


@every_kind
@FEW
@given(logits_drawn, truth_drawn)
def test_weights_of_one_change_nothing(name: str, one_of: bool, logits, truth) -> None:
    labels = truth[0] if one_of else truth[1]
    torch.testing.assert_close(
        losses.get(name)(logits, labels, torch.ones(labels.shape)), losses.get(name)(logits, labels)
    )


@every_kind
def test_a_weight_of_two_counts_as_a_case_that_is_there_twice(name: str, one_of: bool) -> None:
    """Of a mean over cases the sum is compared: two of weight 1 and one of weight 2."""
    logits = torch.tensor([[1.0, -2, 0.5], [0, 3, -1]])
    labels = torch.tensor([2, 0]) if one_of else torch.tensor([[0.0, 1, 1], [1, 0, 1]])
    weights = torch.ones(labels.shape)
    weights[1] = 2
    loss = losses.get(name)
    heavy, twice = loss(logits, labels, weights), loss(logits[[0, 1, 1]], labels[[0, 1, 1]])
    torch.testing.assert_close(heavy, twice if name == "dice" else twice * 3 / 2)


@every_kind
def test_the_order_of_cases_does_not_matter_and_bfloat16_is_computed_in_full_precision(name: str, one_of: bool) -> None:
    logits = torch.tensor([[1.0, -2, 0.5], [0, 3, -1], [0.25, 0.125, 8]], dtype=torch.bfloat16)
    labels = torch.tensor([2, 0, 0]) if one_of else torch.tensor([[0.0, 1, 1], [1, 0, 1], [NAN, NAN, 0]])
    loss = losses.get(name)
    turned = loss(logits.flip(0), labels.flip(0), weights_for(labels).flip(0))
    torch.testing.assert_close(turned, loss(logits, labels, weights_for(labels)))
    assert turned.dtype == torch.float32
    assert torch.equal(loss(logits, labels), loss(logits.float(), labels))


@pytest.mark.parametrize("name", list(reconstruction_losses))
@FEW
@given(arrays("float32", (2, 1, 3, 4), elements=st.floats(-5, 5, width=32)).map(torch.from_numpy))
def test_a_loss_between_images_is_zero_for_equal_ones_grows_with_the_distance_and_minds_no_side(name, image) -> None:
    loss = reconstruction_losses.get(name)
    assert loss(image, image) == 0
    steps = [float(loss(image + way, image)) for way in (0.1, 0.4, 0.6, 2)]
    assert steps == sorted(steps)
    assert loss(image, image + 1).shape == ()
    torch.testing.assert_close(loss(image + 0.5, image), loss(image, image + 0.5))
    torch.testing.assert_close(loss(image, -image, reduction="none").mean(), loss(image, -image))


@pytest.mark.parametrize("name", list(reconstruction_losses))
def test_a_loss_between_images_refuses_another_shape_and_computes_in_full_precision(name: str) -> None:
    with pytest.raises(ValueError, match="one shape"):
        reconstruction_losses.get(name)(torch.zeros(2, 1, 3, 3), torch.zeros(2, 3, 3))
    image = torch.rand(2, 1, 3, 3, dtype=torch.bfloat16)
    assert reconstruction_losses.get(name)(image, torch.zeros_like(image)).dtype == torch.float32
