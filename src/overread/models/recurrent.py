"""Recurrent networks: a sequence of frames, slices or visits to a diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from overread.errors import RecipeError
from overread.models.backbones import backbone, told_size
from overread.models.contract import Axes, Batch, Model, Output, Shape, models
from overread.models.labelling import Labelling, LabelSettings
from overread.models.memory_format import format_of, laid_out

SMALL = "small"
AT_ONCE = 8
"""Frames that are encoded together where nothing is learned."""


class RecurrentSettings(LabelSettings):
    """Settings of the families "rnn", "lstm" and "gru".

    Args:
        encoder: what looks at each frame: "small", three levels of convolutions, or timm's name of a network.
        weights: of an encoder from timm: "none", "imagenet" (packaged, offline), or the path of a weights file.
        width: channels of the first level of the small encoder alone; each further one has twice as many.
        hidden: features that the recurrent layers remember, in each direction.
        layers: recurrent layers, one on the other.
        bidirectional: whether the sequence is also read from its end.
        pooling: how frames become one answer: "mean" of what each speaks for, the "max", or what the network
            remembers when it has read all of them ("last").
        dropout: share of the features that is left out while training, before the recurrent layers and behind them.
    """

    encoder: str = SMALL
    weights: str = "none"
    width: Annotated[int, Field(ge=4, le=256)] = 16
    hidden: Annotated[int, Field(ge=4, le=2048)] = 64
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    bidirectional: bool = True
    pooling: Literal["mean", "max", "last"] = "mean"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class _Recurrent(Model):
    """An encoder for each frame, recurrent layers over the frames, and one linear layer that says what they mean.

    The same linear layer reads every frame, so that the scores of frames explain the score of the whole.
    """

    Settings: ClassVar[type[RecurrentSettings]] = RecurrentSettings
    tasks: ClassVar[tuple[str, ...]] = ("single-label", "multi-label")
    axes: ClassVar[tuple[Axes, ...]] = (3,)
    takes_sequences: ClassVar[bool] = True
    cell: ClassVar[Callable[..., nn.RNNBase]]

    def __init__(
        self, encoder: nn.Module, memory: nn.RNNBase, head: nn.Module, labelling: Labelling, pooling: str
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.memory = memory
        self.head = head
        self._labelling = labelling
        self._pooling = pooling

    @classmethod
    def build(cls, settings: RecurrentSettings, shape: Shape, *, pretrained: bool = True) -> Self:
        """A fresh network for this shape of data.

        Raises:
            RecipeError: settings that timm, the weights or the task do not fit.
        """
        labelling = Labelling(settings, shape)
        encoder, features = _encoder(settings, shape, pretrained=pretrained)
        memory = cls.cell(
            features,
            settings.hidden,
            num_layers=settings.layers,
            batch_first=True,
            bidirectional=settings.bidirectional,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )
        remembered = settings.hidden * (2 if settings.bidirectional else 1)
        head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(remembered, len(shape.classes)))
        return cls(nn.Sequential(encoder, nn.Dropout(settings.dropout)), memory, head, labelling, settings.pooling)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The one loss, by its name."""
        whole, _ = self._logits(batch.images, batch.lengths)
        return self._labelling.loss(whole, batch)

    def predict(self, images: Tensor) -> Output:
        """Scores of the whole sequence, and of each of its frames."""
        whole, frames = self._logits(images, None)
        shares = self._labelling.scores(frames.flatten(0, 1))
        return Output(scores=self._labelling.scores(whole), frame_scores=shares.reshape(frames.shape))

    def _logits(self, images: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of the whole `(case, class)`, and of frames `(case, slice, class)`; those behind the end mean nothing."""
        cases, _, slices = images.shape[:3]
        lengths = torch.full((cases,), slices) if lengths is None else lengths.cpu()
        own = (torch.arange(slices) < lengths[:, None]).to(images.device)
        # frames that only fill up are not encoded: they cost nothing, and leave no trace in the norms
        seen = self._encoded(laid_out(images.transpose(1, 2)[own], format_of(images)))
        features = seen.new_zeros(cases, slices, seen.shape[-1])
        features[own] = seen
        packed = pack_padded_sequence(features.float(), lengths, batch_first=True, enforce_sorted=False)
        with torch.autocast(images.device.type, enabled=False):  # what is remembered over many frames needs its digits
            remembered, state = self.memory(packed)
        outputs, _ = pad_packed_sequence(remembered, batch_first=True, total_length=slices)
        frames = self.head(outputs).float()
        if self._pooling == "last":
            return self.head(self._last(state)).float(), frames
        if self._pooling == "max":
            return frames.masked_fill(~own[..., None], -torch.inf).amax(1), frames
        return (frames * own[..., None]).sum(1) / own.sum(1, keepdim=True), frames

    def _encoded(self, frames: Tensor) -> Tensor:
        """The features of frames `(frame, channel, row, column)`; a few at once where nothing is learned from them.

        The maps between the layers of a long clip fill gigabytes. While training the norms want all frames together.
        """
        with told_size(cast("nn.Sequential", self.encoder)[0], frames, key="model.encoder"):
            if self.training or torch.is_grad_enabled():
                return cast("Tensor", self.encoder(frames))
            return torch.cat([self.encoder(some) for some in torch.split(frames, AT_ONCE)])

    def _last(self, state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """What the last layer remembers at the end of its way, in each direction."""
        hidden = state[0] if isinstance(state, tuple) else state
        return torch.cat(list(hidden[-2:] if self.memory.bidirectional else hidden[-1:]), dim=1)


@models.add("rnn")
class Rnn(_Recurrent):
    """Plain recurrent layers (Elman, 1990)."""

    cell: ClassVar[Callable[..., nn.RNNBase]] = nn.RNN


@models.add("lstm")
class Lstm(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997)."""

    cell: ClassVar[Callable[..., nn.RNNBase]] = nn.LSTM


@models.add("gru")
class Gru(_Recurrent):
    """Gated recurrent units (Cho et al., 2014)."""

    cell: ClassVar[Callable[..., nn.RNNBase]] = nn.GRU


def _encoder(settings: RecurrentSettings, shape: Shape, *, pretrained: bool) -> tuple[nn.Module, int]:
    """What turns frames `(frame, channel, row, column)` into features `(frame, feature)`, and how many."""
    if settings.encoder == SMALL:
        if settings.weights != RecurrentSettings.model_fields["weights"].default:
            raise RecipeError(
                f'model.weights: the encoder "{SMALL}" always begins anew. Leave it out, or set model.encoder to the '
                "network that these weights are of."
            )
        return _small(settings.width, shape.channels)
    if settings.width != RecurrentSettings.model_fields["width"].default:
        raise RecipeError(
            f"model.width: it is for the encoder \"{SMALL}\"; how wide '{settings.encoder}' is, its name says. Leave "
            "it out."
        )
    network: Any = backbone(
        settings.encoder,
        weights=settings.weights,
        channels=shape.channels,
        pretrained=pretrained,
        key="model.encoder",
        num_classes=0,
    )
    return network, network.head_hidden_size  # some have layers between the last maps and the classifier


def _small(width: int, channels: int) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    before = channels
    for level in range(3):
        after = width * 2**level
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2, ceil_mode=True)]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before
