"""What a network learns from images before it learns from labels."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from overread.models.cnn import Cnn
from overread.models.contract import Batch, Shape
from overread.progress import Silent
from overread.training.loop import fabric_for
from overread.training.pretraining import learner_of, pretrain
from overread.training.section import PretrainingSection, TrainingSection

TRAINING = TrainingSection(batch_size=4, memory_format="channels_last")


class Blobs:
    """Bright discs on dark ground, in two batches of four."""

    def __init__(self, labels: int = 0) -> None:
        row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        places = torch.randint(8, 24, (8, 2), generator=torch.Generator().manual_seed(0))
        images = torch.stack([((row - y) ** 2 + (column - x) ** 2 < 36).float() for y, x in places])[:, None]
        self.batches = [Batch(some, tuple("abcd"), targets=torch.full((4,), labels)) for some in images.split(4)]

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Batch]:
        yield from self.batches


def cnn() -> Cnn:
    torch.manual_seed(1)
    settings = Cnn.Settings(backbone="test_efficientnet", weights="none")
    return Cnn.build(settings, Shape("single-label", ("a", "b"), 1))


def pretrained(folder: Path, *, epochs: int = 3, labels: int = 0, **how: Any) -> Cnn:
    model, folder = cnn(), folder / f"{epochs}-{labels}"
    folder.mkdir(exist_ok=True, parents=True)
    torch.manual_seed(2)  # of the decoder
    pretrain(
        model,
        how.get("batches", Blobs(labels)),
        images=Blobs().batches[0].images[:1],
        section=PretrainingSection(epochs=epochs, noise=(0.05, 0.1)),
        training=TRAINING,
        seed=5,
        fabric=fabric_for("cpu", "float32"),
        checkpoint=folder / "pretraining.safetensors",
        fold="of these cases",
        what="pre-training",
        progress=Silent(),
    )
    return model


def error_of(model: Cnn) -> float:
    """How badly a decoder that learns for a moment gives the images back from the levels, which stay as they are."""
    torch.manual_seed(4)
    images = torch.cat([batch.images for batch in Blobs().batches])
    learner = learner_of(model, images, noise=(0.0, 0.0))
    optimiser = torch.optim.Adam(learner.decoder.parameters(), lr=1e-2)
    for _ in range(15):
        optimiser.zero_grad()
        loss = learner.eval().loss(Batch(images, tuple("abcdefgh")))["l2"]
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def test_the_levels_hold_more_of_the_image_and_the_classifier_is_left_alone(tmp_path: Path) -> None:
    fresh, learned = cnn(), pretrained(tmp_path, epochs=40)
    assert error_of(learned) < 0.8 * error_of(fresh)
    classifiers = [model.network.get_classifier() for model in (fresh, learned)]
    assert torch.equal(classifiers[0].weight, classifiers[1].weight)


def test_no_label_is_looked_at(tmp_path: Path) -> None:
    first, second = (pretrained(tmp_path, labels=labels).state_dict() for labels in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    nameless = Blobs()
    nameless.batches = [replace(batch, targets=None) for batch in nameless.batches]
    third = pretrained(tmp_path / "nameless", batches=nameless).state_dict()
    assert all(torch.equal(first[name], third[name]) for name in first)


def test_pre_training_that_was_finished_is_not_done_again(tmp_path: Path) -> None:
    first = pretrained(tmp_path).state_dict()

    class Forbidden(Blobs):
        def epoch(self, number: int) -> Iterator[Batch]:
            pytest.fail("a finished pre-training trained on")

    again = pretrained(tmp_path, batches=Forbidden()).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
