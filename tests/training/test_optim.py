"""Optimisers, weight decay and the learning rate as a function of how far training is."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from overread.errors import UnknownName
from overread.training.optim import learning_rate, optimiser_for, optimisers, schedules
from overread.training.section import TrainingSection

FEW = settings(max_examples=50, deadline=None)
sections = st.builds(
    TrainingSection,
    epochs=st.integers(1, 60),
    learning_rate=st.floats(1e-5, 1.0),
    warmup_epochs=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    step_epochs=st.integers(1, 20),
    schedule=st.sampled_from(sorted(schedules)),
)
shares = st.lists(st.floats(0, 1), min_size=2, max_size=8).map(sorted)


@FEW
@given(sections, shares)
def test_the_learning_rate_is_above_zero_and_never_above_its_peak(section: TrainingSection, shares) -> None:
    for share in shares:
        assert 0 < learning_rate(share * section.epochs, section) <= section.learning_rate * (1 + 1e-9)


@FEW
@given(sections, shares)
def test_it_rises_while_it_warms_up(section: TrainingSection, shares) -> None:
    section = section.model_copy(update={"schedule": "constant", "warmup_epochs": 2.0})
    rates = [learning_rate(share * 2, section) for share in shares]
    assert rates == sorted(rates)
    assert learning_rate(1.0, section) == pytest.approx(section.learning_rate / 2, rel=1e-2)
    assert learning_rate(2.0, section) == section.learning_rate


@FEW
@given(sections, shares)
def test_after_it_has_warmed_up_it_never_rises_again(section: TrainingSection, shares) -> None:
    start = min(section.warmup_epochs, section.epochs)
    rates = [learning_rate(start + share * (section.epochs - start), section) for share in shares]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(rates))


def test_cosine_is_at_its_peak_after_the_warm_up_at_half_in_the_middle_and_at_a_hundredth_at_the_end() -> None:
    section = TrainingSection(epochs=22, warmup_epochs=2, learning_rate=1.0, schedule="cosine")
    assert learning_rate(2, section) == pytest.approx(1.0)
    assert learning_rate(12, section) == pytest.approx(0.505)
    assert learning_rate(7, section) == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate(22, section) == pytest.approx(0.01)


def test_step_is_a_tenth_after_every_so_many_epochs() -> None:
    section = TrainingSection(epochs=30, warmup_epochs=0, learning_rate=1.0, schedule="step", step_epochs=10)
    rates = [learning_rate(epochs, section) for epochs in (0, 9.99, 10, 19.9, 20, 29.9)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_warm_up_that_is_longer_than_training_does_not_leave_the_numbers() -> None:
    section = TrainingSection(epochs=1, warmup_epochs=5, learning_rate=1.0)
    assert 0 < learning_rate(0, section) < learning_rate(1, section) < 0.3


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.line = nn.Linear(4, 3)
        self.kept = nn.Linear(3, 3).requires_grad_(False)


@pytest.mark.parametrize("name", sorted(optimisers))
def test_weights_decay_and_biases_norms_and_frozen_ones_do_not(name: str) -> None:
    network = Layers()
    nn.init.ones_(network.norm.bias)
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    section = TrainingSection(optimiser=name, weight_decay=0.5, learning_rate=0.1)
    optimiser = optimiser_for(network, section)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    changed = {key for key, value in network.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {"conv.weight", "line.weight"}
    if name in ("sgd", "momentum", "adamw"):  # one step of decay is a known share
        torch.testing.assert_close(network.conv.weight.detach(), before["conv.weight"] * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("name", sorted(optimisers))
def test_every_optimiser_goes_downhill_at_the_rate_of_the_section(name: str) -> None:
    line = nn.Linear(2, 1, bias=False)
    section = TrainingSection(optimiser=name, weight_decay=0.0, learning_rate=0.01)
    optimiser = optimiser_for(line, section)
    assert [group["lr"] for group in optimiser.param_groups] == [0.01, 0.01]
    seen = []
    for _ in range(20):
        loss = (line(torch.ones(1, 2)) - 3).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0]


def test_an_unknown_optimiser_or_schedule_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"optimiser .*'adma'.* Did you mean 'adam'"):
        optimiser_for(Layers(), TrainingSection(optimiser="adma"))
    with pytest.raises(UnknownName, match=r"schedule .*'cosin'.* Did you mean 'cosine'"):
        learning_rate(1.0, TrainingSection(schedule="cosin"))
