"""The one loop: what is interrupted goes on to the same bits, and what is kept is what was judged best."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from overread.errors import BundleError, NonFiniteLoss
from overread.models.contract import Batch, Model, Output
from overread.progress import Silent
from overread.provenance import seed_for
from overread.training.loop import Fitted, fabric_for, fit
from overread.training.optim import learning_rate, optimisers
from overread.training.section import TrainingSection


class Tiny(Model):
    """Has all that makes going on hard: a norm with running statistics, dropout, a frozen layer, a 4-axis weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.line = nn.Linear(4, 2)
        self.kept = nn.Linear(2, 2).requires_grad_(False)

    def _logits(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.conv(images))).mean((2, 3))
        return self.kept(self.line(self.drop(features)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self._logits(batch.images)
        return {"label": nn.functional.cross_entropy(logits, batch.labels), "size": 0.01 * logits.square().mean()}

    def predict(self, images: Tensor) -> Output:
        return Output(scores=self._logits(images).softmax(1))


class Made:
    """Batches made from (epoch, number) alone."""

    def __init__(self, batches: int = 3) -> None:
        self.batches = batches
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int) -> Iterator[Batch]:
        self.asked.append(number)
        for index in range(self.batches):
            generator = torch.Generator().manual_seed(100 * number + index)
            targets = torch.randint(2, (6,), generator=generator)
            images = torch.randn(6, 3, 8, 8, generator=generator) + targets[:, None, None, None]
            yield Batch(images, tuple(f"case-{number}-{index}-{n}" for n in range(6)), targets=targets)


def tiny() -> Tiny:
    torch.manual_seed(seed_for("tiny"))
    return Tiny()


def fit_tiny(checkpoint: Path, batches: Any = None, *, score: Any = None, progress: Any = None, **how: Any) -> Fitted:
    section = TrainingSection(
        **{"epochs": 5, "learning_rate": 0.02, "warmup_epochs": 1, "memory_format": "channels_last", **how}
    )
    return fit(
        tiny(),
        batches or Made(),
        section=section,
        seed=11,
        fabric=fabric_for("cpu", section.precision),
        checkpoint=checkpoint,
        fold="of these cases",
        score=score,
        what="training",
        progress=progress or Silent(),
    )


class Killed(Exception):
    pass


class KillsAfter(Silent):
    """Stops the training when an epoch was told of, as a person or a machine would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def say(self, line: str) -> None:
        if f"epoch {self.epoch} of" in line:
            raise Killed


class Breaks(Made):
    """Stops in the middle of an epoch, after some of its batches were learned from."""

    def epoch(self, number: int) -> Iterator[Batch]:
        for index, batch in enumerate(super().epoch(number)):
            if number == 2 and index == 2:
                raise Killed
            yield batch


def scored(model: Model) -> float:
    model.eval()
    torch.rand(7)  # a judge that draws must not change what comes after
    with torch.no_grad():
        scores = model.predict(next(iter(Made().epoch(99))).images).scores
    assert scores is not None
    return float(scores[:, 1].double().sum())


def assert_same(found: Fitted, expected: Fitted) -> None:
    assert found.epoch == expected.epoch
    assert set(found.weights) == set(expected.weights)
    for name, value in expected.weights.items():
        assert torch.equal(found.weights[name], value), name
    for one, other in zip(found.history, expected.history, strict=True):
        assert (one.epoch, one.losses, one.score, one.learning_rate) == (
            other.epoch,
            other.losses,
            other.score,
            other.learning_rate,
        )


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("optimiser", sorted(optimisers))
def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, optimiser: str, average: Any) -> None:
    how = {"optimiser": optimiser, "average": average}
    expected = fit_tiny(tmp_path / "whole.safetensors", score=scored, **how)
    path = tmp_path / "killed.safetensors"
    with pytest.raises(Killed):
        fit_tiny(path, score=scored, progress=KillsAfter(2), **how)
    with pytest.raises(Killed):
        fit_tiny(path, Breaks(), score=scored, **how)
    torch.manual_seed(12345)  # another process has drawn other numbers
    batches = Made()
    assert_same(fit_tiny(path, batches, score=scored, **how), expected)
    assert batches.asked == [2, 3, 4]


@pytest.mark.parametrize("judge", [scored, None])
def test_on_plateau_goes_on_to_the_same_bits_because_its_past_is_in_the_checkpoint(tmp_path: Path, judge: Any) -> None:
    how = {"schedule": "on-plateau", "patience": 1, "epochs": 8, "warmup_epochs": 0, "learning_rate": 0.5}
    expected = fit_tiny(tmp_path / "whole.safetensors", score=judge, **how)
    path = tmp_path / "killed.safetensors"
    for epoch in (2, 5, 7):
        with pytest.raises(Killed):
            fit_tiny(path, score=judge, progress=KillsAfter(epoch), **how)
    assert_same(fit_tiny(path, score=judge, **how), expected)
    assert len({record.learning_rate for record in expected.history}) > 1  # it fell


def test_on_plateau_goes_by_the_validation_score_and_by_the_loss_where_nobody_judges(tmp_path: Path) -> None:
    how = {"schedule": "on-plateau", "patience": 2, "epochs": 6, "warmup_epochs": 0, "learning_rate": 0.01}
    judge, _ = by_epoch([0.5, 0.4, 0.4, 0.6, 0.5, 0.5])
    judged = fit_tiny(tmp_path / "a.safetensors", score=judge, keep="last", **how)
    assert [record.learning_rate for record in judged.history] == pytest.approx([0.01] * 3 + [0.001] * 3)
    alone = fit_tiny(tmp_path / "b.safetensors", **{**how, "epochs": 10})
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01), patience=1, threshold=0.0
    )
    for record in alone.history:
        assert record.learning_rate == pytest.approx(theirs.get_last_lr()[0])
        theirs.step(record.loss)
    assert len({record.learning_rate for record in alone.history}) > 1


def test_after_a_fall_weights_move_by_a_tenth_of_what_they_would_have(tmp_path: Path) -> None:
    how = {"optimiser": "sgd", "weight_decay": 0.0, "warmup_epochs": 0, "epochs": 3, "learning_rate": 0.1}
    shown = {}
    for name in ("constant", "on-plateau"):
        judge, shown[name] = by_epoch([0.5, 0.4, 0.3])
        fit_tiny(tmp_path / name, Made(1), score=judge, schedule=name, patience=1, **how)
    straight, fallen = shown["constant"], shown["on-plateau"]
    assert all(torch.equal(straight[epoch]["line.weight"], fallen[epoch]["line.weight"]) for epoch in (0, 1))
    steps = [weights[2]["line.weight"] - weights[1]["line.weight"] for weights in (straight, fallen)]
    torch.testing.assert_close(steps[1], 0.1 * steps[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize(
    ("scores", "last"),
    [
        ([0.1, 0.9, 0.3, 0.2, 0.95], 3),
        ([0.1, 0.2, 0.2, 0.3, 0.3], 4),
        ([0.0, 0.0, None, 0.0, 0.0], 4),  # nothing was found yet: it may still come
        ([0.5, None, None, 0.9, 0.9], 2),
    ],
)
def test_training_stops_after_so_many_epochs_without_a_better_score(
    tmp_path: Path, scores: list, last: int, keep: str
) -> None:
    judge, shown = by_epoch(scores)
    found = fit_tiny(tmp_path / "c.safetensors", score=judge, stop_after=2, keep=keep)
    assert [record.score for record in found.history] == scores[: last + 1]
    best = max(range(last + 1), key=lambda epoch: (scores[epoch] or 0, -epoch if scores[epoch] else epoch))
    assert found.epoch == (last if keep == "last" else best)
    assert all(torch.equal(found.weights[name], value) for name, value in shown[found.epoch].items())


def test_a_training_that_was_stopped_does_not_go_on_when_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    judge, _ = by_epoch([0.9, 0.1, 0.1])
    expected = fit_tiny(path, score=judge, stop_after=2)
    written = path.read_bytes()
    batches = Made()
    assert_same(fit_tiny(path, batches, score=judge, stop_after=2), expected)
    assert batches.asked == []
    assert path.read_bytes() == written


def test_a_training_that_was_killed_stops_where_it_would_have_stopped(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit_tiny(tmp_path / "c.safetensors", score=by_epoch([0.9, 0.1])[0], stop_after=3, progress=KillsAfter(2))
    batches = Made()
    found = fit_tiny(tmp_path / "c.safetensors", batches, score=by_epoch([0.2, 0.3, 0.95])[0], stop_after=3)
    assert batches.asked == [2, 3]
    assert found.epoch == 0


@pytest.mark.parametrize("epoch", [1, 4])
def test_it_goes_on_after_any_epoch_also_without_a_score_and_in_bfloat16(tmp_path: Path, epoch: int) -> None:
    how = {"average": 0.9, "precision": "bf16", "schedule": "step", "step_epochs": 2}
    expected = fit_tiny(tmp_path / "whole.safetensors", **how)
    path = tmp_path / "killed.safetensors"
    with pytest.raises(Killed):
        fit_tiny(path, progress=KillsAfter(epoch), **how)
    assert_same(fit_tiny(path, **how), expected)


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("float32", torch.float32)])
def test_the_precision_that_was_asked_for_is_the_one_that_the_loss_is_computed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, expected: torch.dtype
) -> None:
    seen = set()
    logits = Tiny._logits

    def looked_at(self: Tiny, images: Tensor) -> Tensor:
        found = logits(self, images)
        seen.add(found.dtype)
        return found

    monkeypatch.setattr(Tiny, "_logits", looked_at)
    fit_tiny(tmp_path / "c.safetensors", epochs=1, precision=precision)
    assert seen == {expected}


def test_it_may_be_killed_while_it_judges(tmp_path: Path) -> None:
    calls = []

    def dies(model: Model) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return scored(model)

    with pytest.raises(Killed):
        fit_tiny(tmp_path / "a.safetensors", score=dies)
    found = fit_tiny(tmp_path / "a.safetensors", score=scored)
    assert_same(found, fit_tiny(tmp_path / "b.safetensors", score=scored))


def test_a_finished_run_does_no_work_again(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    expected = fit_tiny(path, score=scored)
    written = path.stat().st_mtime_ns, path.read_bytes()
    batches = Made()

    def never(_model: Model) -> float:
        raise AssertionError("judged again")

    assert_same(fit_tiny(path, batches, score=never), expected)
    assert batches.asked == []
    assert (path.stat().st_mtime_ns, path.read_bytes()) == written


def test_more_epochs_go_on_from_a_shorter_run(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    fit_tiny(path, epochs=2, schedule="constant")
    batches = Made()
    found = fit_tiny(path, batches, epochs=4, schedule="constant")
    assert batches.asked == [2, 3]
    assert_same(found, fit_tiny(tmp_path / "d.safetensors", epochs=4, schedule="constant"))


def test_a_damaged_checkpoint_is_refused_and_nothing_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    fit_tiny(path, epochs=1)
    path.write_bytes(path.read_bytes()[:-3])
    batches = Made()
    with pytest.raises(BundleError):
        fit_tiny(path, batches)
    assert batches.asked == []


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    first = fit_tiny(tmp_path / "a.safetensors")
    torch.rand(100)
    assert_same(fit_tiny(tmp_path / "b.safetensors"), first)
    other = fit(
        tiny(),
        Made(),
        section=TrainingSection(epochs=5, learning_rate=0.02, warmup_epochs=1, memory_format="channels_last"),
        seed=12,
        fabric=fabric_for("cpu", "float32"),
        checkpoint=tmp_path / "c.safetensors",
        fold="of these cases",
        score=None,
        what="training",
        progress=Silent(),
    )
    assert not torch.equal(other.weights["line.weight"], first.weights["line.weight"])  # dropout draws by the seed


def by_epoch(scores: list[float | None]) -> tuple[Callable[[Model], float | None], list[dict[str, Tensor]]]:
    """A judge that says these scores in turn, and the weights that it was shown."""
    shown: list[dict[str, Tensor]] = []

    def judge(model: Model) -> float | None:
        shown.append({name: value.clone() for name, value in model.state_dict().items()})
        return scores[len(shown) - 1]

    return judge, shown


@pytest.mark.parametrize("average", [None, 0.8])
@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.9, 0.3, 0.2, 0.8], 1),
        ([0.9, 0.1, 0.3, 0.2, 0.8], 0),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 4),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 0),
        ([0.0, 0.0, 0.2, 0.0, 0.2], 2),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 4),  # nothing was found yet: the longest training is the best bet
        ([None, None, None, None, None], 4),
        ([0.0, None, 0.0, None, None], 4),
        ([None, 0.2, 0.1, None, 0.15], 1),
    ],
)
def test_the_epoch_that_is_judged_best_is_kept(tmp_path: Path, scores: list, best: int, average: Any) -> None:
    judge, shown = by_epoch(scores)
    found = fit_tiny(tmp_path / "c.safetensors", score=judge, average=average)
    assert found.epoch == best
    assert [record.score for record in found.history] == scores
    assert set(found.weights) == set(shown[best])
    assert all(torch.equal(found.weights[name], value) for name, value in shown[best].items())


def test_what_is_best_is_remembered_when_it_goes_on(tmp_path: Path) -> None:
    judge, shown = by_epoch([0.1, 0.9, 0.3])
    with pytest.raises(Killed):
        fit_tiny(tmp_path / "c.safetensors", score=judge, progress=KillsAfter(3))
    later, _ = by_epoch([0.2, 0.8])
    found = fit_tiny(tmp_path / "c.safetensors", score=later)
    assert found.epoch == 1
    assert all(torch.equal(found.weights[name], value) for name, value in shown[1].items())


@pytest.mark.parametrize("how", [{"keep": "last"}, {"keep": "best", "score": None}])
def test_the_last_epoch_is_kept_where_nothing_chooses(tmp_path: Path, how: dict[str, Any]) -> None:
    judge, shown = by_epoch([0.9, 0.1, 0.1, 0.1, 0.1])
    found = fit_tiny(tmp_path / "a.safetensors", **{"score": judge, **how})
    assert found.epoch == 4
    assert shown == []
    assert all(record.score is None for record in found.history)
    longer = fit_tiny(tmp_path / "b.safetensors", score=None, keep="last", epochs=4, schedule="constant")
    assert not torch.equal(found.weights["line.weight"], longer.weights["line.weight"])


def test_the_average_follows_the_weights_as_its_definition_says(tmp_path: Path) -> None:
    """Weights after every batch are caught by a judge of single-batch epochs; the average is computed by hand."""
    judge, plain = by_epoch([0.0] * 6)
    fit_tiny(tmp_path / "plain.safetensors", Made(1), score=judge, epochs=6)
    averaged = fit_tiny(tmp_path / "average.safetensors", Made(1), average=0.4, epochs=6, keep="last")
    expected = plain[0]["line.weight"].double()
    for count, weights in enumerate(plain[1:], start=1):
        decay = min(0.4, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weights["line.weight"].double()
    torch.testing.assert_close(averaged.weights["line.weight"].double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(averaged.weights["norm.running_mean"], plain[-1]["norm.running_mean"])


def test_a_loss_that_is_no_number_names_the_epoch_the_batch_and_the_cases(tmp_path: Path) -> None:
    class Poisoned(Made):
        def epoch(self, number: int) -> Iterator[Batch]:
            for index, batch in enumerate(super().epoch(number)):
                if (number, index) == (1, 2):
                    batch.images[3] = float("nan")
                yield batch

    path = tmp_path / "c.safetensors"
    with pytest.raises(NonFiniteLoss, match=r"Epoch 2, batch 3: .*label nan.*case-1-2-0, .*case-1-2-5.*learning_rate"):
        fit_tiny(path, Poisoned())
    found = fit_tiny(path)  # the epoch before it was kept, and no NaN in it
    assert_same(found, fit_tiny(tmp_path / "whole.safetensors"))


def test_the_history_tells_losses_and_the_learning_rate_of_every_epoch(tmp_path: Path) -> None:
    found = fit_tiny(tmp_path / "c.safetensors")
    section = TrainingSection(epochs=5, learning_rate=0.02, warmup_epochs=1)
    assert [record.epoch for record in found.history] == list(range(5))
    for record in found.history:
        assert set(record.losses) == {"label", "size"}
        assert record.loss == pytest.approx(sum(record.losses.values()))
        assert record.learning_rate == learning_rate(record.epoch + 1, section)
        assert record.seconds > 0
    assert found.history[-1].loss < found.history[0].loss


def test_a_frozen_layer_stays_and_the_others_learn(tmp_path: Path) -> None:
    fresh = tiny().state_dict()
    found = fit_tiny(tmp_path / "c.safetensors", weight_decay=0.5)
    same = {name for name, value in found.weights.items() if torch.equal(value, fresh[name])}
    assert same == {"kept.weight", "kept.bias"}


def test_a_long_gradient_is_cut_to_the_length_that_was_asked_for(tmp_path: Path) -> None:
    how = {"optimiser": "sgd", "epochs": 1, "weight_decay": 0.0, "learning_rate": 1.0, "warmup_epochs": 0}
    found = fit_tiny(tmp_path / "c.safetensors", Made(1), clip_norm=1e-3, schedule="constant", **how)
    fresh = tiny().state_dict()
    moved = [(found.weights[name] - value).flatten() for name, value in fresh.items() if "norm.running" not in name]
    assert float(torch.cat([one.float() for one in moved if one.is_floating_point()]).norm()) == pytest.approx(
        1e-3, rel=0.02
    )


def test_the_checkpoint_is_the_only_file_that_is_left(tmp_path: Path) -> None:
    fit_tiny(tmp_path / "c.safetensors", score=scored)
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]
