"""Manifest and Case: the data set as one checked table, the only input of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from overread.errors import TruthAbsent
from overread.finding import Finding
from overread.provenance import digest_of, file_digest

Task = Literal["single-label", "multi-label", "boxes", "masks", "reconstruction"]
"""What truth a data set holds: one class an image, several labels an image, marks as boxes, marks with masks; or none
but the images themselves, which a model shall give back."""

Split = Literal["train", "val", "test"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set.

    Args:
        severity: an "error" stops training; a "warning" is shown and kept in the report.
        name: what kind, such as "unreadable-file"; the same kind always has the same name.
        message: what was expected, what was found, where, what to do.
        where: the case ids or file names that it concerns (all of them, however many).
    """

    severity: Severity
    name: str
    message: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageRef:
    """Where one image is to be read.

    Args:
        path: the file.
        item: which image of the file, where it holds several, such as "train_images[12]" in an npz.
    """

    path: Path
    item: str | None = None

    @property
    def content_key(self) -> str:
        """A key that is equal for equal content: the file's SHA-256, and the item."""
        digest = file_digest(self.path)
        return digest if self.item is None else f"{digest}:{self.item}"


@dataclass(frozen=True)
class Case:
    """One row of the manifest: an image and what is known about it. None means not known.

    Args:
        case_id: unique in the data set, fit for a file name.
        patient_id: cases of one patient are never parted; equal to the case id where no patient is named.
        images: one image, or several in order; none for a row of measurements.
        labels: class -> present (True), absent (False), not known (None). For "single-label" exactly one is True,
            or all are None. Empty for data sets of marks.
        marks: the truth as findings with regions in the original grid. Empty: looked at, and nothing there.
            None: not marked, or a data set of labels.
        split: the part that the data set itself puts it in.
        site: the hospital or scanner.
        attributes: whatever else is known, such as age or sex.
        measurements: the numbers of a row of measurements, finite, in the order of `Manifest.measurements`.
    """

    case_id: str
    patient_id: str
    images: tuple[ImageRef, ...]
    labels: Mapping[str, bool | None] = field(default_factory=dict)
    marks: tuple[Finding, ...] | None = None
    split: Split | None = None
    site: str | None = None
    attributes: Mapping[str, str | float | None] = field(default_factory=dict)
    measurements: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        """The one class of a "single-label" case.

        Raises:
            TruthAbsent: where it is not known.
        """
        present = [name for name, value in self.labels.items() if value]
        if len(present) != 1:
            raise TruthAbsent(f"Case '{self.case_id}' has no single label; its labels are {dict(self.labels)}.")
        return present[0]

    @property
    def truth_marks(self) -> tuple[Finding, ...]:
        """The marks.

        Raises:
            TruthAbsent: where the case was not marked.
        """
        if self.marks is None:
            raise TruthAbsent(f"Case '{self.case_id}' has no marks: nobody said where its lesions are.")
        return self.marks


@dataclass(frozen=True)
class Manifest:
    """A data set as one checked table.

    Args:
        name: what to call the data set in reports.
        source: the name of the source that read it.
        task: what truth it holds.
        classes: the names of the classes, in a fixed order.
        cases: the rows, sorted by case id.
        found: problems that the source met while reading the layout (file without label, label without file ...).
        simulated: whether the images are simulated; said in every report.
        columns: what the columns of a table were taken for: "image", "label", "patient" ... -> their names.
        measurements: the names of what each case was measured for; empty for data sets of images.
    """

    name: str
    source: str
    task: Task
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    found: tuple[Problem, ...] = ()
    simulated: bool = False
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measurements: tuple[str, ...] = ()

    @property
    def marks_lesions(self) -> bool:
        """Whether the truth is marks (boxes or masks) and not labels of whole images."""
        return self.task in ("boxes", "masks")

    @property
    def unit(self) -> Literal["image", "row"]:
        """What people are told that a case is."""
        return "row" if self.measurements else "image"

    @property
    def labels_images(self) -> bool:
        """Whether the truth is labels of whole images, one or several."""
        return self.task in ("single-label", "multi-label")

    @property
    def names_patients(self) -> bool:
        """Whether it says of any case who the patient is; where not, every image counts as a patient of its own."""
        return self.n_nameless < len(self.cases)

    @property
    def n_nameless(self) -> int:
        """How many cases do not say who the patient is."""
        return sum(case.patient_id == case.case_id for case in self.cases)

    def knows_truth_of(self, case: Case) -> bool:
        """Whether anything is known of a case that a model can learn from or be measured on."""
        if self.task == "reconstruction":
            return True
        if self.marks_lesions:
            return case.marks is not None
        if self.task == "single-label":
            return any(case.labels.values())
        return any(value is not None for value in case.labels.values())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that training can see: content of the images, truth, patients, splits."""
        measured = [self.measurements] if self.measurements else []
        return digest_of([self.task, self.classes, [_row(case) for case in self.cases], *measured])

    def subset(self, splits: tuple[Split, ...]) -> Manifest:
        """The same data set with only the cases of some official splits."""
        return self.with_cases(tuple(case for case in self.cases if case.split in splits))

    def with_cases(self, cases: tuple[Case, ...]) -> Manifest:
        """The same data set with other cases."""
        return replace(self, cases=cases)

    def for_images(self) -> Manifest:
        """The same data set with nothing but the images as its truth; labels and marks are forgotten."""
        cases = tuple(replace(case, labels={}, marks=None) for case in self.cases)
        return replace(self, task="reconstruction", classes=(), cases=cases)

    def with_classes(self, classes: tuple[str, ...], *, task: Task) -> Manifest:
        """The same data set with the classes of a model: where one class applies, the others are absent.

        Args:
            classes: all of this data set's and more, in the model's order.
            task: "boxes" makes the boxes of masks the truth.
        """
        absent: dict[str, bool | None] = dict.fromkeys(classes, False if self.task == "single-label" else None)
        cases = tuple(
            replace(case, labels={name: case.labels.get(name, absent[name]) for name in classes} if case.labels else {})
            for case in self.cases
        )
        return replace(self, classes=classes, cases=cases, task=task)


def _row(case: Case) -> list[object]:
    marks = None
    if case.marks is not None:
        marks = [
            [
                mark.label,
                mark.region and list(mark.region.box),
                mark.region and mark.region.mask and mark.region.mask.counts.decode(),
            ]
            for mark in case.marks
        ]
    images = [ref.content_key for ref in case.images]
    measured = [list(case.measurements)] if case.measurements else []
    return [case.case_id, case.patient_id, images, dict(case.labels), marks, case.split, case.site, *measured]
