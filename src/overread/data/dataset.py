"""Cases of a manifest as batches of tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from overread.data.augment import augment
from overread.data.balance import class_weights, shares_of, weights_of
from overread.data.inputs import input_of, slices_of
from overread.data.manifest import Case, Manifest
from overread.data.marks import PreparedMarks, prepared_marks
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection, Balance
from overread.errors import InputError
from overread.image import Axes
from overread.models.contract import Batch, Truths
from overread.preprocessing.step import Step
from overread.provenance import seed_for


class CaseBatches:
    """Cases as batches, augmented for training or as they are for use.

    Every random choice depends on (seed, epoch, case), not on what was drawn before, so that training which was
    interrupted goes on as if it had not been.

    Args:
        manifest: gives the classes and the task.
        cases: which cases.
        images: where prepared images come from.
        steps: how they are prepared (fitted already).
        batch_size: cases a batch.
        augmentation: how training images are varied; None leaves them as they are.
        axes: of the images (see `models.contract.Shape`).
        fill_slices: whether sequences of different length are filled up to the longest of their batch.
        seed: of shuffling and augmentation.
        balance: what is done where classes are unequally common; learned from these cases alone.
    """

    def __init__(
        self,
        manifest: Manifest,
        cases: Sequence[Case],
        *,
        images: PreparedImages,
        steps: Sequence[Step],
        batch_size: int,
        augmentation: AugmentationSection | None,
        seed: int,
        axes: Axes = 2,
        fill_slices: bool = False,
        balance: Balance = "none",
    ) -> None:
        self._manifest = manifest
        self._cases = tuple(cases)
        self._images = images
        self._steps = tuple(steps)
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._seed = seed
        self._axes = axes
        self._fill_slices = fill_slices
        self._marks: dict[str, PreparedMarks] = {}
        self._shares = shares_of(cases, manifest) if balance == "sampling" else None
        self._weights: Tensor | None = None
        if balance == "weights":
            self._weights = class_weights(targets_of(cases, manifest), len(manifest.classes))

    def __len__(self) -> int:
        """Batches an epoch; a last one of a single case is left out, because batch norm cannot bear it."""
        whole, rest = divmod(len(self._cases), self._batch_size)
        return whole + int(rest > 1 or (rest == 1 and whole == 0))

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, in an order of their own."""
        drawn = self._drawn(number)
        for index in range(len(self)):
            yield self._batch(drawn[index * self._batch_size : (index + 1) * self._batch_size], number)

    def _drawn(self, epoch: int) -> list[tuple[Case, int]]:
        """The cases of an epoch in their order, each with how often it was drawn before in this epoch."""
        n, rng = len(self._cases), np.random.default_rng(seed_for(self._seed, "order", epoch))
        order = rng.permutation(n) if self._shares is None else rng.choice(n, n, p=self._shares)
        before = Counter[int]()
        drawn = []
        for number in order.tolist():
            drawn.append((self._cases[number], before[number]))
            before[number] += 1
        return drawn

    def batch(self, cases: Sequence[Case], epoch: int) -> Batch:
        """These cases as one batch, varied as in this epoch."""
        return self._batch([(case, 0) for case in cases], epoch)

    def _batch(self, drawn: Sequence[tuple[Case, int]], epoch: int) -> Batch:
        cases = [case for case, _ in drawn]
        images, truths = zip(*(self._sample(case, epoch, before) for case, before in drawn), strict=True)
        lengths = None
        if self._fill_slices:
            lengths = torch.tensor([image.shape[1] for image in images])
            images = tuple(filled(image, int(lengths.max())) for image in images)
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise InputError(
                f"The images of a batch must have one size; found {sorted(shapes)}. Add a 'resize' step with height "
                f"and width{' and slices' if self._axes == 3 else ', or set augmentation.crop'}."
            )
        marks = self._manifest.marks_lesions
        targets = targets_of(cases, self._manifest) if self._manifest.labels_images else None
        return Batch(
            images=torch.stack(images),
            case_ids=tuple(case.case_id for case in cases),
            targets=targets,
            truths=truths if marks else None,
            lengths=lengths,
            weights=None if targets is None or self._weights is None else weights_of(targets, self._weights),
        )

    def _sample(self, case: Case, epoch: int, before: int) -> tuple[Tensor, Truths | None]:
        image = input_of(case, self._steps, self._images)
        marks = None
        if self._manifest.marks_lesions:
            if case.case_id not in self._marks:
                self._marks[case.case_id] = prepared_marks(
                    case, image, self._manifest.classes, masks=self._manifest.task == "masks"
                )
            marks = self._marks[case.case_id]
        again = (before,) if before else ()  # a case that is drawn again in an epoch is varied in another way
        rng = np.random.default_rng(seed_for(self._seed, "augment", epoch, case.case_id, *again))
        return augment(slices_of(image, self._axes), marks, self._augmentation, rng)


def filled(image: Tensor, slices: int) -> Tensor:
    """A sequence `(channel, slice, row, column)` with empty slices behind its own, up to so many."""
    return functional.pad(image, (0, 0, 0, 0, 0, slices - image.shape[1]))


def targets_of(cases: Sequence[Case], manifest: Manifest) -> Tensor:
    """The image labels as the models want them (see `Batch.targets`)."""
    if manifest.task == "single-label":
        return torch.tensor([manifest.classes.index(case.label) for case in cases], dtype=torch.int64)
    known = {True: 1.0, False: 0.0, None: float("nan")}
    return torch.tensor([[known[case.labels.get(name)] for name in manifest.classes] for case in cases])
