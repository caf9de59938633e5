"""What makes rare classes count as much as common ones: weights of the loss, or how often a case is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overread.data.manifest import Case, Manifest

_MOST = 20.0
"""A label that is rarer still gets no more: one case would outweigh all others of its batch."""


def class_weights(targets: Tensor, classes: int) -> Tensor:
    """How much each class counts, learned from the targets of the training part.

    One class an image: `n / (classes * n of the class)`, over the classes that are there, so that all classes together
    count alike and the mean over all cases is 1. Several labels: what a label that is present counts, where one that is
    absent counts 1: absent by present, within [1/20, 20].

    Args:
        targets: as in `Batch`.
        classes: how many.

    Returns:
        float `(class,)`.
    """
    if targets.ndim == 1:
        found = torch.bincount(targets, minlength=classes).float()
        return len(targets) / (int((found > 0).sum()) * found.clamp(min=1))
    present, absent = (targets == 1).sum(0), (targets == 0).sum(0)
    return (absent / present.clamp(min=1)).clamp(1 / _MOST, _MOST)


def weights_of(targets: Tensor, of_class: Tensor) -> Tensor:
    """The weights of a batch (see `Batch.weights`), given what `class_weights` gave."""
    return of_class[targets] if targets.ndim == 1 else torch.where(targets == 1, of_class, 1.0)


def shares_of(cases: Sequence[Case], manifest: Manifest) -> NDArray[np.float64]:
    """How often each case is to be drawn so that all classes come equally often.

    A case counts for the rarest class that it shows; cases that show none are a class of their own.

    Returns:
        `(case,)`, its sum is 1.
    """
    marked = manifest.marks_lesions
    shown = [
        {mark.label for mark in case.truth_marks} if marked else {name for name, here in case.labels.items() if here}
        for case in cases
    ]
    count = Counter(name for names in shown for name in names)
    groups = [min(names, key=lambda name: (count[name], name), default=None) for names in shown]
    sizes = Counter(groups)
    return np.array([1 / (len(sizes) * sizes[group]) for group in groups])
