"""Losses: predictions and truth in, one number out that is 0 at best."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from overread.catalogue import Catalogue

Loss = Callable[..., Tensor]
"""Takes logits `(case, class)`, and the `labels` and `weights` of a Batch; gives a scalar.

Labels are class indices `(case,)`, where one class applies to an image, or `(case, class)` in {0, 1} with NaN for not
known, which is left out. A weight says how much a case, or a label of a case, counts; the mean is taken over cases and
not over weights, or the weights of a batch whose cases are all of one class would count for nothing. What a loss takes
besides, by keyword, is a setting of `LabelSettings`.
"""

ReconstructionLoss = Callable[..., Tensor]
"""Takes a prediction and its target, of one shape; gives the mean over all values, with `reduction="none"` each."""

losses: Catalogue[Loss] = Catalogue("loss", "overread.models")
reconstruction_losses: Catalogue[ReconstructionLoss] = Catalogue("reconstruction loss", "overread.models")


@losses.add("cross-entropy")
def cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, label_smoothing: float = 0.0
) -> Tensor:
    """One class an image: minus the logarithm of the share that is given to it."""
    each = functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=label_smoothing)
    return (each if weights is None else each * weights).mean()


@losses.add("bce")
def binary_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Every class by itself; of class indices, one class against the others."""
    truth, known = _truth(logits, labels)
    return _mean(functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none"), known, weights)


@losses.add("focal")
def focal(logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, focal_gamma: float = 2.0) -> Tensor:
    """Cross-entropy in which what is answered well counts less (Lin et al., ICCV 2017, without their alpha).

    An answer p for what is true counts `(1 - p) ** focal_gamma`. Where one class applies to an image, p is its share of
    all classes; where several may, it is that of each class by itself.
    """
    logits = logits.float()
    if labels.ndim == 1:
        own = functional.one_hot(labels, logits.shape[1]).bool()
        others = logits.masked_fill(own, torch.finfo(logits.dtype).min)
        each = functional.cross_entropy(logits, labels, reduction="none")
        # the logarithm of 1 - p, exact also where p is nearly 1: a power of 0 would have no gradient
        missing = others.logsumexp(1) - logits.logsumexp(1)
        return _mean(each * (focal_gamma * missing).exp(), torch.ones_like(each), weights)
    truth, known = _truth(logits, labels)
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missing = functional.logsigmoid(logits * (1 - 2 * truth))
    return _mean(each * (focal_gamma * missing).exp(), known, weights)


@losses.add("dice")
def dice(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """One minus the overlap of scores and truth over the batch, the mean of all classes (Milletari et al., 3DV 2016).

    Every class counts alike, however rare it is. To each sum one case is added that is answered right, so that a class
    of which a batch shows nothing is still learned from.
    """
    truth, known = _truth(logits, labels)
    counts = _counts(known, weights)
    scores = _scores(logits, labels)
    overlap = (2 * counts * scores * truth).sum(0) + 1
    total = (counts * (scores.square() + truth.square())).sum(0) + 1
    asked = known.amax(0)  # a class of which nothing is known in this batch has no overlap
    return ((1 - overlap / total) * asked).sum() / asked.sum().clamp(min=1)


def _distance(measure: Callable[..., Tensor], prediction: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    if prediction.shape != target.shape:  # torch would stretch the one to the other
        raise ValueError(f"a prediction and its target have one shape; found {prediction.shape} and {target.shape}")
    return measure(prediction.float(), target.float(), reduction=reduction)


def _between_scores(
    distance: ReconstructionLoss, logits: Tensor, labels: Tensor, weights: Tensor | None = None
) -> Tensor:
    """How far scores lie from 0 and 1, the truth."""
    truth, known = _truth(logits, labels)
    return _mean(distance(_scores(logits, labels), truth, reduction="none"), known, weights)


_measures: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    # scores lie at most 1 apart, and with torch's delta of 1 nothing would be left of Huber's straight lines
    "huber": partial(functional.huber_loss, delta=0.5),
}
for _name, _measure in _measures.items():
    _loss = partial(_distance, _measure)
    reconstruction_losses.add(_name)(_loss)
    losses.add(_name)(partial(_between_scores, _loss))


def _truth(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Truth `(case, class)` in {0, 1}, and 1 where it is known."""
    if labels.ndim == 1:
        truth = functional.one_hot(labels, logits.shape[1]).float()
        return truth, torch.ones_like(truth)
    known = ~torch.isnan(labels)
    return labels.float().nan_to_num(0.0), known.float()


def _scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Shares of all classes where one applies to an image, and each class by itself where several may."""
    return logits.float().softmax(1) if labels.ndim == 1 else logits.float().sigmoid()


def _counts(known: Tensor, weights: Tensor | None) -> Tensor:
    """How much each label counts; a weight of a case is that of its labels."""
    return known if weights is None else known * weights.reshape(*weights.shape, *[1] * (known.ndim - weights.ndim))


def _mean(each: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """The mean over what is known; 0 where nothing is."""
    return (each * _counts(known, weights)).sum() / known.sum().clamp(min=1)
