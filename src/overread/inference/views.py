"""One image seen in several ways, and what was marked on each brought back to the image as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from overread.data.section import AugmentationSection
from overread.models.contract import Marks, Output
from overread.provenance import seed_for


@dataclass(frozen=True)
class Pose:
    """How an image lies: mirrored left to right first, then turned.

    Args:
        mirrored: whether.
        turns: by quarters, against the clock.
    """

    mirrored: bool = False
    turns: int = 0

    def of(self, images: Tensor) -> Tensor:
        """Images `(..., row, column)` in this pose; quarter turns change rows and columns over."""
        return torch.rot90(images.flip(-1) if self.mirrored else images, self.turns, (-2, -1))

    def back(self, marks: Marks, size: tuple[int, int]) -> Marks:
        """Marks on an image in this pose, in the pixels of the image as it is.

        Args:
            marks: as a model gave them.
            size: (row, column) of the image as it is.
        """
        left, top, right, bottom = marks.boxes.unbind(-1)
        rows, columns = size if self.turns % 2 == 0 else size[::-1]
        for _ in range(self.turns % 4):
            left, top, right, bottom = rows - bottom, left, rows - top, right
            rows, columns = columns, rows
        if self.mirrored:
            left, right = columns - right, columns - left
        masks = marks.masks
        if masks is not None:
            masks = torch.rot90(masks, -self.turns, (-2, -1))
            masks = masks.flip(-1) if self.mirrored else masks
        return replace(marks, boxes=torch.stack([left, top, right, bottom], -1), masks=masks)


@dataclass(frozen=True, eq=False)
class View:
    """Some images as a model is to see them.

    Args:
        images: `(case, channel, ..., row, column)`.
        pose: in which they are; None where they were varied, which cannot be undone.
    """

    images: Tensor
    pose: Pose | None

    def told(self, output: Output, size: tuple[int, int]) -> Output:
        """What a model says about these images, of the images as they are.

        What it says of each slice or pixel is there only for the view that shows the images as they are.

        Args:
            output: as the model gave it.
            size: (row, column) of the images as they are.
        """
        marks = output.marks
        if marks is not None:
            assert self.pose is not None  # the settings are refused before
            marks = tuple(self.pose.back(one, size) for one in marks)
        return replace(output, marks=marks) if self.pose == Pose() else Output(output.scores, marks)


def views_of(
    images: Tensor,
    *,
    mirrored: bool = False,
    turned: bool = False,
    varied: int = 0,
    augmentation: AugmentationSection | None = None,
) -> Iterator[View]:
    """Images as they are, and then in other ways; which ones depends on nothing but these settings.

    Args:
        images: `(case, channel, row, column)` or `(case, channel, slice, row, column)`.
        mirrored: also their mirror images.
        turned: also all of these turned by one, two and three quarters.
        varied: and so many varied copies.
        augmentation: how these vary.
    """
    for turns in range(4) if turned else (0,):
        for mirror in (False, True) if mirrored else (False,):
            pose = Pose(mirror, turns)
            yield View(pose.of(images), pose)
    if varied:
        from overread.data.augment import augment  # torchvision's transforms, only where they are needed
    for number in range(varied):
        seed = seed_for("view", number)
        copies = [augment(one, None, augmentation, np.random.default_rng(seed))[0] for one in images.numpy()]
        yield View(torch.stack(copies), None)
