"""Optimisers, weight decay and the learning rate as a function of how far training is."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from overread.errors import UnknownName
from overread.training.loop import epochs_without_better
from overread.training.optim import learning_rate, optimiser_for, optimisers, schedules
from overread.training.section import TrainingSection

FEW = settings(max_examples=50, deadline=None)
sections = st.builds(
    TrainingSection,
    epochs=st.integers(1, 60),
    learning_rate=st.floats(1e-5, 1.0),
    warmup_epochs=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    step_epochs=st.integers(1, 20),
    patience=st.integers(1, 5),
    schedule=st.sampled_from(sorted(schedules)),
)
falling = sections.filter(lambda section: section.schedule != "one-cycle")
waits_drawn = st.lists(st.integers(0, 12), max_size=40)
shares = st.lists(st.floats(0, 1), min_size=2, max_size=8).map(sorted)


@FEW
@given(sections, shares, waits_drawn)
def test_the_learning_rate_is_above_zero_and_never_above_its_peak(section: TrainingSection, shares, waits) -> None:
    for share in shares:
        assert 0 < learning_rate(share * section.epochs, section, waits) <= section.learning_rate * (1 + 1e-9)


@pytest.mark.parametrize("name", sorted(schedules))
def test_a_schedule_stays_above_zero_however_long_the_training_is(name: str) -> None:
    section = TrainingSection(epochs=100_000, schedule=name, step_epochs=1, patience=1)
    assert learning_rate(100_000, section, range(100_000)) > 0


@pytest.mark.parametrize("name", sorted(schedules))
def test_a_schedule_is_at_its_peak_where_it_should_be(name: str) -> None:
    section = TrainingSection(epochs=40, warmup_epochs=4, learning_rate=0.3, schedule=name)
    peak = 12 if name == "one-cycle" else 4
    assert learning_rate(peak, section) == pytest.approx(0.3)
    assert learning_rate(0, section) < 0.3 / 20
    assert learning_rate(peak / 2, section) < 0.3 * 0.6


@FEW
@given(sections, shares)
def test_it_rises_while_it_warms_up(section: TrainingSection, shares) -> None:
    section = section.model_copy(update={"schedule": "constant", "warmup_epochs": 2.0})
    rates = [learning_rate(share * 2, section) for share in shares]
    assert rates == sorted(rates)
    assert learning_rate(1.0, section) == pytest.approx(section.learning_rate / 2, rel=1e-2)
    assert learning_rate(2.0, section) == section.learning_rate


@FEW
@given(falling, shares)
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


@pytest.mark.parametrize("epochs", [500, 1000])
def test_one_cycle_rises_and_falls_as_that_of_torch(epochs: int) -> None:
    section = TrainingSection(epochs=epochs, learning_rate=2.0, schedule="one-cycle")
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2.0, total_steps=epochs + 1, cycle_momentum=False)
    for epoch in range(epochs + 1):  # they are at the peak up to one step earlier
        assert learning_rate(epoch, section) == pytest.approx(theirs.get_last_lr()[0], abs=0.02)
        optimiser.step()
        if epoch < epochs:
            theirs.step()
    assert learning_rate(0.0, section) == pytest.approx(2.0 / 25)
    assert learning_rate(0.3 * epochs, section) == pytest.approx(2.0)
    assert learning_rate(epochs, section) == pytest.approx(theirs.get_last_lr()[0], rel=1e-3)


@FEW
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=30), st.integers(1, 4))
def test_on_plateau_falls_when_that_of_torch_does(scores: list[float], patience: int) -> None:
    section = TrainingSection(epochs=30, learning_rate=1.0, warmup_epochs=0, schedule="on-plateau", patience=patience)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="max", patience=patience - 1, threshold=0.0, min_lr=1e-6, eps=0.0
    )
    for epoch, score in enumerate(scores, start=1):
        theirs.step(score)
        rate = learning_rate(epoch, section, epochs_without_better(scores[:epoch]))
        assert rate == pytest.approx(theirs.get_last_lr()[0])


def test_on_plateau_falls_to_a_tenth_after_every_so_many_epochs_without_a_better_one() -> None:
    section = TrainingSection(learning_rate=1.0, warmup_epochs=0, schedule="on-plateau", patience=2)
    for waits, rate in (((), 1), ((0, 1), 1), ((0, 1, 2), 0.1), ((0, 1, 2, 3, 4), 0.01), ((0, 1, 2, 0, 1, 2), 0.01)):
        assert learning_rate(len(waits), section, waits) == pytest.approx(rate)


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


@pytest.mark.parametrize("name", sorted(optimisers))
def test_every_optimiser_comes_to_the_lowest_point_of_a_convex_problem(name: str) -> None:
    torch.manual_seed(0)
    points = torch.randn(40, 3)
    truth = points @ torch.tensor([[1.0], [-2.0], [0.5]])
    line = nn.Linear(3, 1)
    section = TrainingSection(optimiser=name, weight_decay=0.0, learning_rate=0.02)
    optimiser = optimiser_for(line, section)
    for _ in range(600):
        optimiser.zero_grad()
        (line(points) - truth).square().mean().backward()
        optimiser.step()
    assert float((line(points) - truth).square().mean().detach()) < 1e-3


def test_an_unknown_optimiser_or_schedule_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"optimiser .*'adma'.* Did you mean 'adam'"):
        optimiser_for(Layers(), TrainingSection(optimiser="adma"))
    with pytest.raises(UnknownName, match=r"schedule .*'cosin'.* Did you mean 'cosine'"):
        learning_rate(1.0, TrainingSection(schedule="cosin"))
