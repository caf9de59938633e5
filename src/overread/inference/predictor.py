"""Networks and images in, predictions in the images' own grids out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from overread import io
from overread.data.extent import Extent
from overread.data.inputs import Images, input_of, slices_of
from overread.data.manifest import Case, ImageRef, Task
from overread.data.problems import pixel_digest
from overread.data.section import AugmentationSection
from overread.errors import DataChanged, OverreadError, RecipeError
from overread.finding import Finding, Prediction, Region
from overread.image import Axes, Image
from overread.inference.merging import FoundMark, merge, surest
from overread.inference.views import views_of
from overread.models.contract import Marks, Model, Output
from overread.models.memory_format import MemoryFormat, laid_out
from overread.preprocessing.placement import (
    boxes_to_original,
    cells_to_original,
    clipped,
    heatmap_to_original,
    paste_mask,
    slices_to_original,
)
from overread.preprocessing.step import Step, prepare

_NO_NUMBER = (
    "the model's answer to this image is not a number, so there is no answer. Read it with another model, or train "
    "this one again."
)


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
        self.digests[ref] = pixel_digest(image)
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
        channels: that the networks read, 1 or 3; of tables the number of measurements.
        axes: of the images that they read: 2 flat, 3 volumes and sequences, 0 tables.
        bundle_id: written into every prediction.
        extent: how large the images were that they learned from; another size is refused where it can change a label,
            and else said with the answer. None where that is not known.
        device: where the networks are.
        precision: "bf16" or "float32".
        memory_format: order of images in memory, which should be that of the networks' weights.
        mirrored: also ask about the mirror image, and join the answers.
        turned: also ask about the image turned by quarters, and join the answers.
        views: also ask about so many varied copies of the image, and average; for labels only.
        augmentation: how these are varied.
        one_class_a_place: of marks of several classes at one place, keep the surest.
        batch_size: images at once, where they have one size.
    """

    networks: tuple[Network, ...]
    task: Task
    classes: tuple[str, ...]
    channels: int
    axes: Axes = 2
    bundle_id: str | None = None
    extent: Extent | None = None
    device: str = "cpu"
    precision: str = "float32"
    memory_format: MemoryFormat = "channels_last"
    mirrored: bool = False
    turned: bool = False
    views: int = 0
    augmentation: AugmentationSection | None = None
    one_class_a_place: bool = False
    batch_size: int = 16

    def predict(self, cases: Sequence[Case], images: Images) -> Iterator[Prediction]:
        """What the networks say about cases, in the order given; their truth is not looked at.

        An image that cannot be read or does not fit is refused by name; the others go on.

        Args:
            cases: with images or measurements.
            images: where images come from.
        """
        for start in range(0, len(cases), self.batch_size):
            yield from self._predict_some(cases[start : start + self.batch_size], images)

    def _predict_some(self, cases: Sequence[Case], images: Images) -> list[Prediction]:
        refused: dict[int, str] = {}
        said: dict[int, list[_Said]] = {}
        prepared: dict[int, Image] = {}
        for number, network in enumerate(self.networks):
            if number == 0 or network.steps != self.networks[number - 1].steps:  # folds mostly prepare alike
                prepared = self._prepared(cases, network.steps, images, refused)
            for some in _of_one_size(prepared):
                try:
                    for output in self._run(network.model, [prepared[index] for index in some]):
                        for place, index in enumerate(some):
                            answer = _Said.of(output, place, prepared[index])
                            if answer is None:
                                refused[index] = _NO_NUMBER
                            else:
                                said.setdefault(index, []).append(answer)
                except RecipeError as error:  # from the model: its network takes images of one size alone
                    refused |= dict.fromkeys(some, f"this image does not fit the model. {error}")
        return [
            Prediction(case.case_id, refused=refused[index], bundle_id=self.bundle_id)
            if index in refused
            else replace(self._prediction(case.case_id, said[index]), doubt=self._misfit(prepared[index]))
            for index, case in enumerate(cases)
        ]

    def _prepared(
        self, cases: Sequence[Case], steps: Sequence[Step], images: Images, refused: dict[int, str]
    ) -> dict[int, Image]:
        """The images that can be prepared, by their place in `cases`; the others are entered into `refused`."""
        prepared = {}
        for index, case in enumerate(cases):
            if index not in refused:
                try:
                    prepared[index] = self._fitting(input_of(case, steps, images))
                except DataChanged:  # no image that does not fit: left out, it would change numbers in silence
                    raise
                except OverreadError as error:
                    refused[index] = _reason(error, case)
        return prepared

    def _fitting(self, image: Image) -> Image:
        if image.channels != self.channels and not self.axes:
            raise OverreadError(
                f"this model was trained on {self.channels} measurements; these are {image.channels}. Give all of them."
            )
        if image.channels != self.channels:
            kinds = {1: "grey", 3: "colour"}
            raise OverreadError(
                f"this model was trained on {kinds[self.channels]} images; this is a "
                f"{kinds.get(image.channels, f'{image.channels}-channel')} image. Use a model for such "
                "images, or one trained with the step 'grey', which takes both."
            )
        pixels = slices_of(image, self.axes)
        if self.axes and pixels.min() == pixels.max():  # a model would give it a class all the same
            raise OverreadError(
                "all pixels that the model would see are equal, so that they show nothing. Check that it is the right "
                "image, and an image of the kind that the model was trained on."
            )
        if self.task in ("single-label", "multi-label") and (misfit := self._misfit(image)):
            raise OverreadError(misfit)
        return image

    def _misfit(self, image: Image) -> str | None:
        return None if self.extent is None else self.extent.misfit(image)

    def _run(self, model: Model, images: Sequence[Image]) -> Iterator[Output]:
        """What a network says about images of one size, in each view of them."""
        batch = torch.from_numpy(np.stack([slices_of(image, self.axes) for image in images]))
        rows, columns = batch.shape[-2:]
        model.eval()
        for view in views_of(
            batch, mirrored=self.mirrored, turned=self.turned, varied=self.views, augmentation=self.augmentation
        ):
            with torch.inference_mode(), self._autocast():
                output = model.predict(laid_out(view.images.to(self.device), self.memory_format))
            yield view.told(output, (rows, columns))

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")

    def _prediction(self, case_id: str, said: Sequence[_Said]) -> Prediction:
        by_class: dict[str, float] = {}
        findings: list[Finding] = []
        scores = [one.scores for one in said if one.scores is not None]
        if scores:
            by_class = dict(zip(self.classes, np.mean(scores, axis=0).tolist(), strict=True))
            findings += [Finding(label, score=by_class[label]) for label in self._stated(by_class)]
        found = [one.marks for one in said if one.marks is not None]
        if found:
            marks = merge(found)
            marks = surest(marks) if self.one_class_a_place else marks
            findings += [Finding(self.classes[mark.class_index], _region(mark), score=mark.score) for mark in marks]
            # what is surely marked is surely there: the image is as suspicious as its most suspicious place
            by_class = {
                name: max((mark.score for mark in marks if mark.class_index == index), default=0.0)
                for index, name in enumerate(self.classes)
            }
        frames = _mean([one.frame_scores for one in said])
        return Prediction(
            case_id,
            tuple(findings),
            by_class,
            heatmap=_mean([one.heatmap for one in said]),
            frame_scores={} if frames is None else dict(zip(self.classes, map(_known, frames.T), strict=True)),
            restored=_restored(said),
            bundle_id=self.bundle_id,
        )

    def _stated(self, scores: dict[str, float]) -> list[str]:
        if self.task == "single-label":
            return [max(scores, key=lambda name: scores[name])]
        return [name for name, score in scores.items() if score >= 0.5]


@dataclass(frozen=True, eq=False)
class _Said:
    """What a network says about a view of an image; fields as in `Output`, marks and heat map in its own grid."""

    scores: NDArray[np.float64] | None
    marks: list[FoundMark] | None
    frame_scores: NDArray[np.float32] | None
    heatmap: NDArray[np.float32] | None
    restored: Image | None

    @classmethod
    def of(cls, output: Output, place: int, image: Image) -> _Said | None:
        """Of the image at one place of a batch; None where any of it is not a number."""
        marks = None if output.marks is None else output.marks[place]
        parts = {
            name: None if value is None else value[place].float().cpu()
            for name in ("scores", "frame_scores", "heatmaps", "restored")
            for value in [getattr(output, name)]
        }
        numbers = [part for part in parts.values() if part is not None]
        if marks is not None:
            numbers += [marks.boxes, marks.scores, *([] if marks.masks is None else [marks.masks])]
        if not all(bool(torch.isfinite(one).all()) for one in numbers):
            return None
        scores, frames, heatmap, restored = parts.values()
        return cls(
            None if scores is None else scores.double().numpy(),
            None if marks is None else found_marks(marks, image),
            None if frames is None else slices_to_original(frames.numpy(), image),
            None if heatmap is None else heatmap_to_original(heatmap.numpy(), image),
            None
            if restored is None
            else image.with_pixels(restored.reshape(image.pixels.shape).numpy(), by="restored"),
        )


def _known(scores: NDArray[np.float32]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(score) else float(score) for score in scores)


def _mean(parts: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    there = [part for part in parts if part is not None]
    return np.mean(there, axis=0, dtype=np.float32) if there else None


def _restored(said: Sequence[_Said]) -> Image | None:
    """The mean of what the networks gave back; folds whose steps differ are in grids of their own: the first one's."""
    images = [one.restored for one in said if one.restored is not None]
    if not images:
        return None
    alike = [image.pixels for image in images if image.pixels.shape == images[0].pixels.shape]
    return replace(images[0], pixels=np.mean(alike, axis=0, dtype=np.float32))


def _reason(error: OverreadError, case: Case) -> str:
    """Why an image is refused, without the name that the message begins with: its own name stands beside the refusal.

    A DICOM image calls itself by its SOP Instance UID (digits and dots, PS3.5 9.1), which tells a person nothing.
    """
    files = [
        re.escape(ref.path.name) + ("" if ref.item is None else f"(:{re.escape(ref.item)})?") for ref in case.images
    ]
    names = "|".join([*files, re.escape(case.case_id), "[0-9.]+", "DICOM [0-9a-f]{12}"])
    return re.sub(f"^({names}): ", "", str(error))


def _region(mark: FoundMark) -> Region:
    """Where a mark is, cut to its image; its mask fills the whole box, also what was cut off."""
    left, top, right, bottom = clipped(np.array(mark.box), mark.shape).tolist()
    mask = None if mark.mask is None else paste_mask(mark.mask, mark.box, mark.shape)
    return Region((left, top, right, bottom), mask)


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
