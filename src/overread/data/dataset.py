"""Cases of a manifest as batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overread.data.augment import augment
from overread.data.manifest import Case, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection
from overread.errors import InputError
from overread.image import Image
from overread.models.contract import Batch, Truths
from overread.preprocessing.placement import boxes_to_prepared, masks_to_prepared
from overread.preprocessing.step import Step
from overread.provenance import seed_for

Bitmap = tuple[int, int, NDArray[np.bool_]]
"""(left, top, pixels): a mask cut to its own box, in the prepared grid."""


@dataclass(frozen=True, eq=False)
class PreparedMarks:
    """The marks of one case in the grid of its prepared image.

    Args:
        boxes: `(mark, 4)` as (left, top, right, bottom) in pixels, none without area.
        classes: `(mark,)` index into the classes.
        bitmaps: one a mark, or None where the data set has boxes only.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    bitmaps: tuple[Bitmap, ...] | None


def _bitmap_box(bitmap: Bitmap) -> tuple[int, int, int, int]:
    left, top, pixels = bitmap
    if not pixels.any():
        return left, top, left, top
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1


def prepared_marks(case: Case, image: Image, classes: Sequence[str], *, masks: bool) -> PreparedMarks:
    """Where the marks of a case lie in its prepared image; those that were cropped away are left out."""
    regions = [(mark.region, classes.index(mark.label)) for mark in case.truth_marks if mark.region is not None]
    labels = np.array([index for _, index in regions], dtype=np.int64)
    if masks:
        bitmaps = masks_to_prepared([region.mask for region, _ in regions if region.mask is not None], image)
        boxes = np.array([_bitmap_box(bitmap) for bitmap in bitmaps], dtype=np.float32).reshape(-1, 4)
    else:
        bitmaps = None
        original = np.array([region.box for region, _ in regions], dtype=np.float64).reshape(-1, 4)
        boxes = boxes_to_prepared(original, image).astype(np.float32)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return PreparedMarks(
        boxes=boxes[kept],
        classes=labels[kept],
        bitmaps=None if bitmaps is None else tuple(b for b, keep in zip(bitmaps, kept, strict=True) if keep),
    )


class CaseBatches:
    """Cases as batches, augmented for training or as they are for use.

    Every random choice hangs on (seed, epoch, case), not on what was drawn before, so that training which was
    interrupted goes on as if it had not been.

    Args:
        manifest: gives the classes and the task.
        cases: which cases.
        images: where prepared images come from.
        steps: how they are prepared (fitted already).
        batch_size: cases a batch.
        augmentation: how training images are varied; None leaves them as they are.
        seed: of shuffling and augmentation.
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
    ) -> None:
        self._manifest = manifest
        self._cases = tuple(cases)
        self._images = images
        self._steps = tuple(steps)
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._seed = seed
        self._marks: dict[str, PreparedMarks] = {}

    def __len__(self) -> int:
        """Batches an epoch; a last one of a single case is left out, because batch norm cannot bear it."""
        whole, rest = divmod(len(self._cases), self._batch_size)
        return whole + int(rest > 1 or (rest == 1 and whole == 0))

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, in an order of their own."""
        order = np.random.default_rng(seed_for(self._seed, "order", number)).permutation(len(self._cases))
        for index in range(len(self)):
            chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
            yield self._batch([self._cases[i] for i in chosen], number)

    def _batch(self, cases: Sequence[Case], epoch: int) -> Batch:
        images, truths = zip(*(self._sample(case, epoch) for case in cases), strict=True)
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise InputError(
                f"The images of a batch must have one size; found {sorted(shapes)}. Add a 'resize' step with height "
                "and width, or set augmentation.crop."
            )
        marks = self._manifest.marks_lesions
        return Batch(
            images=torch.stack(images),
            case_ids=tuple(case.case_id for case in cases),
            targets=None if marks else targets_of(cases, self._manifest),
            truths=truths if marks else None,
        )

    def _sample(self, case: Case, epoch: int) -> tuple[Tensor, Truths | None]:
        image = self._images.get(case.images[0], self._steps)
        marks = None
        if self._manifest.marks_lesions:
            if case.case_id not in self._marks:
                self._marks[case.case_id] = prepared_marks(
                    case, image, self._manifest.classes, masks=self._manifest.task == "masks"
                )
            marks = self._marks[case.case_id]
        rng = np.random.default_rng(seed_for(self._seed, "augment", epoch, case.case_id))
        return augment(image.pixels, marks, self._augmentation, rng)


def targets_of(cases: Sequence[Case], manifest: Manifest) -> Tensor:
    """The image labels as the models want them (see `Batch.targets`)."""
    if manifest.task == "single-label":
        return torch.tensor([manifest.classes.index(case.label) for case in cases], dtype=torch.int64)
    known = {True: 1.0, False: 0.0, None: float("nan")}
    return torch.tensor([[known[case.labels.get(name)] for name in manifest.classes] for case in cases])
