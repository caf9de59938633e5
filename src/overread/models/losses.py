"""Losses of image labels: predictions and truth in, one number out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from overread.catalogue import Catalogue

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes logits `(case, class)` and the targets of a Batch; gives a scalar."""

losses: Catalogue[Loss] = Catalogue("loss", "overread.models")


@losses.add("cross-entropy")
def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """One class an image: `targets` are int64 `(case,)`."""
    return functional.cross_entropy(logits.float(), targets)


@losses.add("bce")
def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Every class by itself: `targets` are `(case, class)` in {0, 1}, NaN where not known (left out).

    Class indices `(case,)` are accepted too: one class against the others.
    """
    logits = logits.float()
    if targets.ndim == 1:
        targets = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    known = ~torch.isnan(targets)
    if not known.any():
        return logits.sum() * 0.0
    return functional.binary_cross_entropy_with_logits(logits[known], targets[known])
