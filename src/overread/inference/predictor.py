"""Networks and images in, predictions in the images' own grids out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from overread import io
from overread.data.manifest import ImageRef, Task
from overread.data.problems import facts_in
from overread.data.section import AugmentationSection
from overread.errors import OverreadError
from overread.finding import Finding, Prediction, Region
from overread.image import Image
from overread.inference.merging import FoundMark, merge, surest
from overread.models.contract import Marks, Model, Output
from overread.preprocessing.placement import boxes_to_original, cells_to_original, clipped, paste_mask
from overread.preprocessing.step import Step, prepare
from overread.provenance import seed_for


class Images(Protocol):
    """Where images come from: the cache while training, the file itself while reading."""

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        """The image after `steps`."""
        ...


class FreshImages:
    """Images decoded when asked for and kept nowhere, as a reading of patients' images wants it.

    Of each its `digests` keep what tells whether a model has learned from it: SHA-256 (hex) of shape and pixels.
    """

    def __init__(self) -> None:
        self.digests: dict[ImageRef, str] = {}

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        """The image after `steps`.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        image = io.read(ref.path, item=ref.item)
        self.digests[ref] = facts_in(image).pixel_digest
        return prepare(image, steps)


@dataclass(frozen=True, eq=False)
class Network:
    """One trained model with the steps that prepare its images."""

    model: Model
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The networks of all folds, and what their numbers mean.

    Args:
        networks: one a fold; their answers are averaged.
        task: as in the manifest.
        classes: the names behind the class indices.
        channels: that the networks read, 1 or 3.
        bundle_id: written into every prediction.
        device: where the networks are.
        precision: "bf16" or "float32".
        mirrored: also ask about the mirror image, and average; for labels only.
        views: also ask about so many varied copies of the image, and average; for labels only.
        augmentation: how these are varied.
        one_class_a_place: of marks of several classes at one place, keep the surest.
        batch_size: images at once, where they have one size.
    """

    networks: tuple[Network, ...]
    task: Task
    classes: tuple[str, ...]
    channels: int
    bundle_id: str | None = None
    device: str = "cpu"
    precision: str = "float32"
    mirrored: bool = False
    views: int = 0
    augmentation: AugmentationSection | None = None
    one_class_a_place: bool = False
    batch_size: int = 16

    def predict(self, refs: Sequence[tuple[str, ImageRef]], images: Images) -> Iterator[Prediction]:
        """What the networks say about images, in the order given.

        An image that cannot be read or does not fit is refused by name; the others go on.

        Args:
            refs: case id and image.
            images: where they come from.
        """
        for start in range(0, len(refs), self.batch_size):
            yield from self._predict_some(refs[start : start + self.batch_size], images)

    def _predict_some(self, refs: Sequence[tuple[str, ImageRef]], images: Images) -> list[Prediction]:
        refused: dict[int, str] = {}
        scores: dict[int, list[Tensor]] = {}
        found: dict[int, list[list[FoundMark]]] = {}
        prepared: dict[int, Image] = {}
        for number, network in enumerate(self.networks):
            if number == 0 or network.steps != self.networks[number - 1].steps:  # folds mostly prepare alike
                prepared = self._prepared(refs, network.steps, images, refused)
            for some in _of_one_size(prepared):
                output = self._run(network.model, [prepared[index] for index in some])
                for place, index in enumerate(some):
                    if not all(bool(torch.isfinite(numbers).all()) for numbers in _numbers(*output, place)):
                        refused[index] = (
                            "the model's answer to this image is not a number, so there is no answer. Read it with "
                            "another model, or train this one again."
                        )
                        continue
                    if output[0] is not None:
                        scores.setdefault(index, []).append(output[0][place])
                    if output[1] is not None:
                        found.setdefault(index, []).append(found_marks(output[1][place], prepared[index]))
        return [
            Prediction(case_id, refused=refused[index], bundle_id=self.bundle_id)
            if index in refused
            else self._prediction(case_id, scores.get(index), found.get(index))
            for index, (case_id, _) in enumerate(refs)
        ]

    def _prepared(
        self, refs: Sequence[tuple[str, ImageRef]], steps: Sequence[Step], images: Images, refused: dict[int, str]
    ) -> dict[int, Image]:
        """The images that can be prepared, by their place in `refs`; the others are entered into `refused`."""
        prepared = {}
        for index, (_, ref) in enumerate(refs):
            if index not in refused:
                try:
                    prepared[index] = self._fitting(images.get(ref, steps))
                except OverreadError as error:
                    refused[index] = _reason(error, ref)
        return prepared

    def _fitting(self, image: Image) -> Image:
        if image.channels != self.channels:
            kinds = {1: "grey", 3: "colour"}
            raise OverreadError(
                f"this model was trained on {kinds[self.channels]} images; this is a "
                f"{kinds.get(image.channels, f'{image.channels}-channel')} image. Read it with a model for such images."
            )
        if image.pixels.ndim != 3:
            raise OverreadError("this model reads single images; this one is a volume.")
        if image.pixels.min() == image.pixels.max():  # a model would give it a class all the same
            raise OverreadError(
                "all pixels that the model would see are equal, so that they show nothing. Check that it is the right "
                "image, and an image of the kind that the model was trained on."
            )
        return image

    def _run(self, model: Model, images: Sequence[Image]) -> tuple[Tensor | None, tuple[Marks, ...] | None]:
        batch = torch.from_numpy(np.stack([image.pixels for image in images]))
        model.eval()
        with torch.inference_mode():
            if not self.mirrored and not self.views:
                output = self._asked(model, batch)
                return (None if output.scores is None else output.scores.cpu()), output.marks
            views, answers = self._views(batch), list[Tensor]()
            at_once = max(1, self.batch_size // len(batch))  # a single image would ask for each of its copies alone
            while some := list(islice(views, at_once)):
                scores = self._asked(model, torch.cat(some)).scores
                assert scores is not None  # views are for labels only
                answers += torch.split(scores.float(), len(batch))
            return torch.stack(answers).mean(0).cpu(), None

    def _asked(self, model: Model, batch: Tensor) -> Output:
        with self._autocast():
            return model.predict(batch.to(self.device).contiguous(memory_format=torch.channels_last))

    def _views(self, batch: Tensor) -> Iterator[Tensor]:
        """The images as they are and in other views; which ones hangs on nothing but their number."""
        yield batch
        if self.mirrored:
            yield batch.flip(-1)
        if self.views:
            from overread.data.augment import augment

            for number in range(self.views):
                seed = seed_for("view", number)
                copies = [
                    augment(one, None, self.augmentation, np.random.default_rng(seed))[0] for one in batch.numpy()
                ]
                yield torch.stack(copies)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")

    def _prediction(self, case_id: str, scores: list[Tensor] | None, found: list[list[FoundMark]] | None) -> Prediction:
        by_class: dict[str, float] = {}
        findings: list[Finding] = []
        if scores is not None:
            mean = torch.stack(scores).double().mean(0).tolist()
            by_class = dict(zip(self.classes, mean, strict=True))
            findings += [Finding(label, score=by_class[label]) for label in self._stated(by_class)]
        if found is not None:
            marks = merge(found)
            marks = surest(marks) if self.one_class_a_place else marks
            findings += [Finding(self.classes[mark.class_index], _region(mark), score=mark.score) for mark in marks]
        return Prediction(case_id, tuple(findings), by_class, bundle_id=self.bundle_id)

    def _stated(self, scores: dict[str, float]) -> list[str]:
        if self.task == "single-label":
            return [max(scores, key=lambda name: scores[name])]
        return [name for name, score in scores.items() if score >= 0.5]


def _reason(error: OverreadError, ref: ImageRef) -> str:
    """Why an image is refused, without the name that the message begins with: its own name stands beside the refusal.

    A DICOM image calls itself by its SOP Instance UID (digits and dots, PS3.5 9.1), which tells a person nothing.
    """
    file = re.escape(ref.path.name) + ("" if ref.item is None else f"(:{re.escape(ref.item)})?")
    return re.sub(f"^({file}|[0-9.]+|DICOM [0-9a-f]{{12}}): ", "", str(error))


def _region(mark: FoundMark) -> Region:
    """Where a mark is, cut to its image; its mask fills the whole box, also what was cut off."""
    left, top, right, bottom = clipped(np.array(mark.box), mark.shape).tolist()
    mask = None if mark.mask is None else paste_mask(mark.mask, mark.box, mark.shape)
    return Region((left, top, right, bottom), mask)


def _numbers(scores: Tensor | None, marks: Sequence[Marks] | None, place: int) -> list[Tensor]:
    """All that a model says about one image of a batch."""
    found = [] if scores is None else [scores[place]]
    if marks is not None:
        one = marks[place]
        found += [one.boxes, one.scores, *([] if one.masks is None else [one.masks])]
    return found


def found_marks(marks: Marks, image: Image) -> list[FoundMark]:
    """Marks of a prepared image in the grid of the image as it was read; those outside of it are dropped."""
    boxes = boxes_to_original(marks.boxes.double().cpu().numpy(), image)
    masks = None if marks.masks is None else cells_to_original(marks.masks.float().cpu().numpy(), image)
    rows, columns = image.original_shape
    inside = clipped(boxes, (rows, columns))
    found = []
    for index in np.flatnonzero((inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])).tolist():
        left, top, right, bottom = boxes[index].tolist()
        found.append(
            FoundMark(
                box=(left, top, right, bottom),
                score=float(marks.scores[index]),
                class_index=int(marks.classes[index]),
                mask=None if masks is None else masks[index],
                shape=(rows, columns),
            )
        )
    return found


def _of_one_size(images: dict[int, Image]) -> list[list[int]]:
    sizes: dict[tuple[int, ...], list[int]] = {}
    for index, image in images.items():
        sizes.setdefault(image.pixels.shape, []).append(index)
    return list(sizes.values())
