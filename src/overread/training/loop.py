"""The one loop that fits every model family."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from overread.data.fold import refuse_other_fold
from overread.errors import NonFiniteLoss
from overread.models.contract import Batch, Model
from overread.models.memory_format import lay_out
from overread.progress import Progress
from overread.provenance import seed_for
from overread.training.checkpoint import load_checkpoint, packed, save_checkpoint, unpacked
from overread.training.optim import learning_rate, optimiser_for
from overread.training.section import TrainingSection

log = logging.getLogger(__name__)

Tensors = tuple[Tensor, ...] | list[Tensor]


class Epochs(Protocol):
    """Where the loop gets its batches."""

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, the same whenever they are asked for."""
        ...


@dataclass(frozen=True)
class EpochRecord:
    """What happened in one epoch.

    Args:
        epoch: from 0.
        losses: mean of every named loss over the epoch.
        learning_rate: at its end.
        score: on the validation part, in [0, 1], higher is better; None where there is none.
        seconds: that it took, validation included.
    """

    epoch: int
    losses: Mapping[str, float]
    learning_rate: float
    score: float | None
    seconds: float

    @property
    def loss(self) -> float:
        """The sum of the losses, which is what was minimised."""
        return sum(self.losses.values())


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model that was fitted.

    Args:
        weights: of the kept epoch, by parameter name.
        epoch: which one was kept.
        history: every epoch.
    """

    weights: Mapping[str, Tensor]
    epoch: int
    history: Sequence[EpochRecord]

    @property
    def seconds(self) -> float:
        """That all epochs took, those before an interruption included."""
        return sum(record.seconds for record in self.history)


def fabric_for(device: str, precision: str) -> Fabric:
    """The device, "cpu" or "cuda", and the precision of training."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells on stderr what was asked for
    return Fabric(accelerator=device, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true")


def fit(
    model: Model,
    batches: Epochs,
    *,
    section: TrainingSection,
    seed: int,
    fabric: Fabric,
    checkpoint: Path,
    fold: str,
    score: Callable[[Model], float | None] | None,
    what: str,
    progress: Progress,
) -> Fitted:
    """Fit a model; go on from the checkpoint where there is one.

    Args:
        model: fresh, on the CPU.
        batches: the training part.
        section: how to train; its memory format is chosen, not "auto".
        seed: of this fold.
        fabric: device and precision.
        checkpoint: file that is written after every epoch; deleting it starts anew.
        fold: digest of the cases that it learns from and is judged by (see `Fold.digest`).
        score: judges a model on the validation part, in [0, 1], higher is better; None, where there is none, keeps the
            last epoch.
        what: what to call the work in the progress shown.
        progress: shows it.

    Raises:
        NonFiniteLoss: a loss became NaN or infinite; names the cases of the batch.
        OutputExists: the checkpoint is of another fold.
    """
    run = begin(model, section, fabric)
    history, best = _resume(run, checkpoint, fold)
    if not section.asks_validation:
        score = None
    for epoch in progress.track(range(len(history), section.epochs), what=what, total=section.epochs - len(history)):
        waits = epochs_without_better([-record.loss if score is None else record.score for record in history])
        if section.stop_after is not None and score is not None and waits and waits[-1] >= section.stop_after:
            progress.say(f"{what}: stopped, no better validation score in {waits[-1]} epochs")
            break
        started = time.perf_counter()
        torch.manual_seed(seed_for(seed, "epoch", epoch))
        losses = _one_epoch(run, batches, epoch, waits, section=section, fabric=fabric)
        judged = run.judged
        value = None if score is None else score(judged)
        rate = learning_rate(epoch + 1, section, waits)
        history.append(EpochRecord(epoch, losses, rate, value, time.perf_counter() - started))
        if best is None or section.keep == "last" or _better(value, history[best[0]].score):
            best = epoch, {name: tensor.detach().cpu().clone() for name, tensor in judged.state_dict().items()}
        save(run, checkpoint, fold, history, best)
        shown = "" if value is None else f", validation {value:.4f}"
        progress.say(f"{what}: epoch {epoch + 1} of {section.epochs}, loss {history[-1].loss:.4f}{shown}")
    assert best is not None
    return Fitted(best[1], best[0], tuple(history))


def epochs_without_better(worths: Sequence[float | None]) -> list[int]:
    """After each epoch, how many have gone by since the best so far.

    Args:
        worths: validation score of each epoch, or its loss with a minus. Until one is above 0, the later is the better.

    >>> epochs_without_better([0.0, 0.0, 0.7, 0.6, None, 0.8])
    [0, 0, 0, 1, 2, 0]
    """
    waits: list[int] = []
    best: float | None = None
    for worth in worths:
        better = _better(worth, best)
        best = worth if better else best
        waits.append(0 if better else waits[-1] + 1)
    return waits


def _better(score: float | None, best: float | None) -> bool:
    """Whether an epoch takes the place of the one kept so far; until one scores above 0, the later one does."""
    return not best or (score is not None and score > best)


@dataclass
class Run:
    """What changes while training goes on."""

    model: Model
    averaged: AveragedModel | None
    optimiser: Optimizer

    @property
    def judged(self) -> Model:
        """The model that would be kept: the average where one is made."""
        model = self.model if self.averaged is None else self.averaged.module
        assert isinstance(model, Model)
        return model


def begin(model: Model, section: TrainingSection, fabric: Fabric) -> Run:
    """A model, its average and its optimiser, where and as they are needed for the first step."""
    assert section.memory_format != "auto"
    lay_out(model, section.memory_format)
    averaged = None if section.average is None else _averaged(model, section.average)
    _, optimiser = fabric.setup(model, optimiser_for(model, section))
    if averaged is not None:
        averaged.to(fabric.device)
    return Run(model, averaged, optimiser)


def _averaged(model: Model, decay: float) -> AveragedModel:
    def move(averages: Tensors, values: Tensors, count: Tensor | int) -> None:
        # early on the average follows closely, or it would hold the first random weights for long
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, values, weight)

    return AveragedModel(model, multi_avg_fn=move)


def _one_epoch(
    run: Run, batches: Epochs, epoch: int, waits: Sequence[int], *, section: TrainingSection, fabric: Fabric
) -> dict[str, float]:
    run.model.train()
    sums: dict[str, float] = {}
    for index, batch in enumerate(batches.epoch(epoch)):
        rate = learning_rate(epoch + index / len(batches), section, waits)
        where = f"Epoch {epoch + 1}, batch {index + 1}"
        for name, value in learn(run, batch, rate=rate, section=section, fabric=fabric, where=where).items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / len(batches) for name, value in sums.items()}


def learn(
    run: Run, batch: Batch, *, rate: float, section: TrainingSection, fabric: Fabric, where: str
) -> dict[str, float]:
    """One step; gives the losses before it.

    Args:
        run: is changed; its model is in training mode.
        batch: what to learn from.
        rate: the learning rate.
        section: how to train.
        fabric: device and precision.
        where: what to call the step in an error.

    Raises:
        NonFiniteLoss: a loss became NaN or infinite; names the cases of the batch.
    """
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    losses = losses_of(run.model, batch, section=section, fabric=fabric)
    total = torch.stack(list(losses.values())).sum()
    if not torch.isfinite(total):
        named = ", ".join(f"{name} {float(value.detach()):.3g}" for name, value in losses.items())
        raise NonFiniteLoss(
            f"{where}: the loss is not a finite number ({named}). The cases were {', '.join(batch.case_ids)}. Look at "
            "these images, or lower training.learning_rate."
        )
    run.optimiser.zero_grad(set_to_none=True)
    fabric.backward(total)
    if section.clip_norm is not None:
        nn.utils.clip_grad_norm_(run.model.parameters(), section.clip_norm)
    run.optimiser.step()
    if run.averaged is not None:
        run.averaged.update_parameters(run.model)
    return {name: float(value.detach()) for name, value in losses.items()}


def losses_of(model: Model, batch: Batch, *, section: TrainingSection, fabric: Fabric) -> dict[str, Tensor]:
    """What the model says of a batch, in the precision and the memory order of the training."""
    assert section.memory_format != "auto"
    with fabric.autocast():  # Fabric's wrapper gives a single device's model its precision only in `forward`
        return model.loss(batch.to(fabric.device, section.memory_format))


def save(
    run: Run,
    checkpoint: Path,
    fold: str,
    history: Sequence[EpochRecord],
    best: tuple[int, Mapping[str, Tensor]],
) -> None:
    """Write where a training stands: the run, its fold, all epochs so far, and the number and weights of the best."""
    numbers, tensors = packed(run.optimiser.state_dict(), name="optimiser")
    save_checkpoint(
        checkpoint,
        tensors={
            "model": run.model.state_dict(),
            "averaged": {} if run.averaged is None else run.averaged.state_dict(),
            "optimiser": tensors,
            "best": best[1],
        },
        state={
            "fold": fold,
            "history": [asdict(record) for record in history],
            "best": best[0],
            "optimiser": numbers,
        },
    )


def epochs_done(checkpoint: Path) -> int:
    """How many epochs a training has behind it.

    Raises:
        BundleError: a damaged checkpoint.
    """
    found = load_checkpoint(checkpoint)
    return 0 if found is None else len(found.state["history"])


def _resume(run: Run, checkpoint: Path, fold: str) -> tuple[list[EpochRecord], tuple[int, Mapping[str, Tensor]] | None]:
    found = load_checkpoint(checkpoint)
    if found is None:
        return [], None
    tensors, state = found.tensors, found.state
    refuse_other_fold(state.get("fold"), fold, file=checkpoint)
    run.model.load_state_dict(tensors["model"])
    if run.averaged is not None:
        run.averaged.load_state_dict(tensors["averaged"])
    run.optimiser.load_state_dict(unpacked(state["optimiser"], tensors["optimiser"]))
    history = [EpochRecord(**record) for record in state["history"]]
    log.info("going on after epoch %d", len(history))
    return history, (state["best"], tensors["best"])
