"""Before it learns from labels, a network learns from the images alone what they look like."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from overread.models.autoencoder import Autoencoder, Reconstructor
from overread.models.contract import HasLevels, Model
from overread.progress import Progress
from overread.training.loop import Epochs, fit
from overread.training.section import PretrainingSection, TrainingSection


def pretrain(
    model: Model,
    batches: Epochs,
    *,
    images: Tensor,
    section: PretrainingSection,
    training: TrainingSection,
    seed: int,
    fabric: Fabric,
    checkpoint: Path,
    fold: str,
    what: str,
    progress: Progress,
) -> float:
    """Teach the levels of a model, in place, to hold what it takes to give an image back without its noise.

    This is the denoising autoencoder of Vincent et al. (ICML 2008): a decoder is put behind the coarsest level, both
    learn together, and the decoder is thrown away. No label is looked at.

    Args:
        model: fresh, with `levels`.
        batches: the training part of the fold, and nothing else.
        images: one or more as they come in these batches: they show how wide each level is.
        section: how long, and with how much noise.
        training: size of batches, precision and the like.
        seed: of this fold's pre-training.
        fabric: device and precision.
        checkpoint: file that is written after every epoch.
        fold: digest of the fold, as for `fit`.
        what: what to call the work in the progress shown.
        progress: shows it.

    Returns:
        The seconds that it took, those before an interruption included.
    """
    learner = learner_of(model, images, noise=section.noise)
    fitted = fit(
        learner,
        batches,
        section=section_of(section, training),
        seed=seed,
        fabric=fabric,
        checkpoint=checkpoint,
        fold=fold,
        score=None,
        what=what,
        progress=progress,
    )
    learner.load_state_dict(fitted.weights)
    return fitted.seconds


class _Levels(nn.Module):
    """The levels of a model as the encoder of an autoencoder."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        assert isinstance(self.model, HasLevels)
        return self.model.levels(images)


def learner_of(model: Model, images: Tensor, *, noise: tuple[float, float]) -> Autoencoder:
    """What learns together before any label: the levels of a model, and a decoder behind them."""
    encoder = _Levels(model)
    with torch.no_grad():
        widths = [level.shape[1] for level in encoder.eval()(images.to(next(model.parameters()).device))]
    decoder = Reconstructor(widths, images.shape[1], axes=2 if images.ndim == 4 else 3, skips=False)
    return Autoencoder(encoder, decoder, loss="l2", noise=noise, residual=False)


def section_of(section: PretrainingSection, training: TrainingSection) -> TrainingSection:
    """How pre-training is done: as the training, but for what the recipe says of it alone."""
    return TrainingSection(
        epochs=section.epochs,
        batch_size=training.batch_size,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        warmup_epochs=min(1.0, section.epochs / 2),
        keep="last",
        precision=training.precision,
        memory_format=training.memory_format,
    )
