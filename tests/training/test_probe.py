"""A way to compute is taken where it is quicker and gives the same; what a recipe says is not tried."""

import time

import pytest
import torch
from torch import Tensor, nn

from overread.errors import RecipeError
from overread.models.contract import Batch, Model, Output
from overread.models.memory_format import format_of
from overread.training.computing import Computing, Trial
from overread.training.probe import best_of, choose, ways
from overread.training.section import TrainingSection


class Network(Model):
    """A small network that can be made slow in float32, and wrong in bfloat16."""

    def __init__(self, *, slow_s: float = 0.0, loss_by: float = 1.0, gradient_by: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.line = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2)
        self.slow_s, self.loss_by, self.gradient_by = slow_s, loss_by, gradient_by
        self.formats: set[str] = set()

    def _logits(self, images: Tensor) -> Tensor:
        return self.line(torch.relu(self.norm(self.conv(images))).mean((2, 3)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.formats.add(format_of(batch.images))
        loss = nn.functional.cross_entropy(self._logits(batch.images).float(), batch.labels)
        if not torch.is_autocast_enabled("cpu"):
            time.sleep(self.slow_s)
            return {"label": loss}
        longer = loss * self.gradient_by
        return {"label": (longer - longer.detach() + loss.detach()) * self.loss_by}

    def predict(self, images: Tensor) -> Output:
        return Output(scores=self._logits(images).softmax(1))


def batches() -> list[Batch]:
    torch.manual_seed(1)
    return [Batch(torch.randn(4, 3, 16, 16), tuple("abcd"), targets=torch.arange(4) % 2) for _ in range(3)]


def chosen(network: Network, **section: str) -> Computing:
    return choose(network, batches(), TrainingSection.model_validate(section), "cpu")


def test_a_precision_that_is_much_quicker_and_agrees_is_taken() -> None:
    found = chosen(Network(slow_s=0.1), memory_format="contiguous")
    assert (found.precision, found.memory_format) == ("bf16", "contiguous")
    plain, other = found.trials
    assert (plain.time_ratio, plain.loss_difference, plain.gradient_difference) == (1.0, 0.0, 0.0)
    assert other.time_ratio < 0.9
    assert 0 < other.loss_difference < 0.05


@pytest.mark.parametrize("wrong", [{"loss_by": 1.1}, {"loss_by": float("nan")}, {"gradient_by": 1.3}])
def test_a_precision_that_is_quicker_and_wrong_is_not_taken(wrong: dict[str, float]) -> None:
    assert chosen(Network(slow_s=0.1, **wrong), memory_format="contiguous").precision == "float32"


def tried(time_ratio: float, *, loss: float = 0.0, gradient: float = 0.0) -> Trial:
    return Trial(
        precision="bf16",
        memory_format="contiguous",
        time_ratio=time_ratio,
        loss_difference=loss,
        gradient_difference=gradient,
    )


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([tried(1.0), tried(0.92)], 0),
        ([tried(1.0), tried(0.88)], 1),
        ([tried(1.0), tried(0.7), tried(0.65)], 1),  # each step away from the plainest must be worth it
        ([tried(1.0), tried(0.7), tried(0.5)], 2),
        ([tried(1.0), tried(0.7), tried(0.2, loss=0.06)], 1),
        ([tried(1.0), tried(0.5, gradient=0.2)], 0),
        ([tried(1.0, loss=1e9), tried(0.5, loss=1e9)], 0),
    ],
)
def test_the_quickest_way_is_taken_where_it_saves_a_tenth_and_agrees(trials: list[Trial], best: int) -> None:
    assert best_of(trials) == best


@pytest.mark.parametrize(("precision", "memory_format"), [("bf16", "contiguous"), ("float32", "channels_last")])
def test_what_the_recipe_says_is_not_tried(precision: str, memory_format: str) -> None:
    section = TrainingSection.model_validate({"precision": precision, "memory_format": memory_format})
    found = choose(Network(), [], section, "cpu")
    assert (found.precision, found.memory_format, found.trials) == (precision, memory_format, ())


def test_what_is_left_open_is_tried_with_what_is_said() -> None:
    network = Network()
    found = chosen(network, precision="float32")
    assert [trial.precision for trial in found.trials] == ["float32", "float32"]
    assert network.formats == {"contiguous", "channels_last"}


def test_the_weights_stay_as_they_were() -> None:
    network = Network(slow_s=0.001)
    before = {name: value.clone() for name, value in network.named_parameters()}
    chosen(network)
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert all(value.grad is None for value in network.parameters())


def test_the_plainest_way_comes_first() -> None:
    first = ways(TrainingSection(), "cpu")[0]
    assert (first.precision, first.memory_format) == ("float32", "contiguous")


def volumetric() -> Network:
    network = Network()
    network.deep = nn.Conv3d(1, 1, 3)
    return network


def test_convolutions_over_volumes_are_learned_in_float32_on_a_cpu_for_their_gradients_are_wrong_at_times() -> None:
    found = chosen(volumetric(), memory_format="contiguous")
    assert (found.precision, found.trials) == ("float32", ())
    with pytest.raises(RecipeError, match=r"training.precision: .* volumes.*'float32' or 'auto'"):
        chosen(volumetric(), precision="bf16")
    assert len(ways(TrainingSection(memory_format="contiguous"), "cpu")) == 2


def test_all_ways_draw_the_same_so_that_chance_is_not_taken_for_a_difference() -> None:
    class Drawing(Network):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            return {name: value * torch.rand(()).detach() for name, value in super().loss(batch).items()}

    torch.manual_seed(7)
    found = chosen(Drawing(), precision="float32")
    assert found.trials[1].loss_difference < 0.001
    assert found.trials[1].gradient_difference < 0.001
