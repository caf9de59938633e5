"""Reading: one image with what was said about it, as every output format gets it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from overread.catalogue import Catalogue
from overread.data.manifest import Case
from overread.finding import Finding, Prediction
from overread.image import Image


@dataclass(frozen=True, eq=False)
class Reading:
    """One image, what the model says about it, and the truth where it is known.

    Args:
        prediction: what the model says, or why it refused.
        image: as it was read, in its original grid; None where it was refused, or where pixels are not needed
            (tables).
        truth: the row of the manifest; None for a new image.
        name: how to call the image in what people read; never a patient's name.
        fold: which fold tested the case; None outside cross-validation.
        group: the patient as whom the case counts, where patients share pictures; None: its own.
        exclusive: whether exactly one class applies to an image ("single-label"); then the highest score is the
            answer.
        simulated: whether the image is simulated, and shows no patient.
        learned_from: whether the model learned from this very image, pixel for pixel; its answer then says little.
        model_simulated: whether the model learned from simulated images, whatever this one is.
        model: the name of the model; None where the page around the picture says it.
        threshold: the model's marks are shown from this score on, in [0, 1]; None where they were not chosen by one.
        marks_lesions: whether the model marks; its scores are then those of its highest marks.
        classes: all that the model knows, so that a class keeps its colour from picture to picture; empty: those
            of the marks.
        unit: what it is a reading of: an image, or a row of measurements, which has no picture.
        noisy: of a model that restores, the image with the noise that it was tested with; `image` is then the image
            as it is prepared. None outside of tests.
        knows_only: the one class that the model learned from, where it judges all else by how unlike it is.
    """

    prediction: Prediction
    image: Image | None
    truth: Case | None
    name: str
    fold: int | None = None
    group: str | None = None
    exclusive: bool = True
    simulated: bool = False
    learned_from: bool = False
    model_simulated: bool = False
    model: str | None = None
    threshold: float | None = None
    marks_lesions: bool = False
    classes: tuple[str, ...] = ()
    unit: Literal["image", "row"] = "image"
    noisy: Image | None = None
    knows_only: str | None = None

    @property
    def restores(self) -> bool:
        """Whether the model gives images back, and says nothing about what they show."""
        return self.prediction.restored is not None or bool(self.prediction.quality)

    @property
    def can_mark(self) -> bool:
        """Whether the answer is marks, be it none."""
        truly = self.true_marks is not None
        return self.marks_lesions or truly or bool(self.marks) or not (self.prediction.scores or self.restores)

    @property
    def marks(self) -> tuple[Finding, ...]:
        """What the model marks: the findings with a place in the image, in the order of the prediction."""
        return tuple(finding for finding in self.prediction.findings if finding.region is not None)

    @property
    def marked_classes(self) -> tuple[str, ...]:
        """The classes that marks can be of, in the order of their colours."""
        return self.classes or tuple(sorted({mark.label for mark in (*self.marks, *(self.true_marks or ()))}))

    @property
    def true_marks(self) -> tuple[Finding, ...] | None:
        """The true marks; None where nobody marked the image."""
        if self.truth is None or self.truth.marks is None:
            return None
        return tuple(mark for mark in self.truth.marks if mark.region is not None)

    @property
    def predicted_class(self) -> str | None:
        """The one class that the model gives the whole image; None where there is not exactly one."""
        if self.prediction.refused is not None:
            return None
        stated = [finding.label for finding in self.prediction.findings if finding.region is None]
        if len(stated) == 1:
            return stated[0]
        if stated or not self.exclusive or not self.prediction.scores:
            return None
        return max(self.prediction.scores, key=lambda name: self.prediction.scores[name])

    @property
    def true_classes(self) -> tuple[str, ...] | None:
        """The classes that truly apply; None where that is not known."""
        if self.truth is None or not self.truth.labels or None in self.truth.labels.values():
            return None
        return tuple(name for name, present in self.truth.labels.items() if present)


Exporter = Callable[[Sequence[Reading], Path], list[Path]]
"""Writes readings into a folder and returns the files that it wrote, each whole or not at all."""

exporters: Catalogue[Exporter] = Catalogue("output format", "overread.export")
