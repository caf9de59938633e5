"""The names of everything that can be wrong with a data set, and the words for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from overread.data.manifest import Problem, Severity

_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """One kind of problem.

    Args:
        severity: "error" where a result would be wrong or could not be had, else "warning".
        found: what was met, as the heading of a list.
        advice: what to do.
    """

    severity: Severity
    found: str
    advice: str


KINDS: Mapping[str, Kind] = {
    # the files
    "unreadable-file": Kind(
        "error", "Files that cannot be read as an image", "Replace them, or take them out of the data set."
    ),
    "unreadable-truth": Kind(
        "error", "Label maps or masks that cannot be used", "Replace them; one integer a pixel is expected."
    ),
    "unknown-file": Kind("warning", "Files that are no part of this layout and were left out", "Check that none is."),
    "file-without-label": Kind(
        "warning", "Images that the data set says nothing about, left out", "Label them, or take them away."
    ),
    "label-without-file": Kind(
        "error", "Truth whose image is not there", "Add the images, or take these entries out of the truth."
    ),
    "ambiguous-file": Kind("error", "Names that fit several images", "Write them with their file extension."),
    "file-named-twice": Kind("error", "Images that have several entries", "Keep one entry an image."),
    "not-one-image": Kind("error", "Case folders without exactly one image", "Put one image into images/ of each."),
    "multi-frame": Kind("error", "DICOM files with several frames", "Store every frame as an instance of its own."),
    "several-images-a-case": Kind(
        "error",
        "Cases that have several images, of which a model would see one only",
        "Label single images, such as by their SOP Instance UID.",
    ),
    # the table
    "column-not-used-as-label": Kind(
        "warning", "Columns kept as attributes and not learned from", "Check that none of them is a label."
    ),
    "column-may-name-patients": Kind(
        "warning",
        "Columns that are no label, whose values are shared by a few images each",
        "If one names patients, call it 'patient_id': a patient whose images are on both sides of a fold makes every "
        "number too good.",
    ),
    "column-may-be-an-id": Kind(
        "warning",
        "Columns that are called like an id, or whose values are whole numbers that never come back, left out",
        "An id would be learned by heart. If one is a measurement, call it 'measurement_...'.",
    ),
    "measurement-missing": Kind(
        "error",
        "Columns of measurements with empty cells (rows are counted from 1 below the names)",
        "Fill them in, or take these rows out; a column called 'attribute_...' is not learned from.",
    ),
    "measurement-not-a-number": Kind(
        "error",
        "Columns of measurements with cells that are no number (rows are counted from 1 below the names)",
        "Correct them, or take these rows out; a column called 'attribute_...' is not learned from.",
    ),
    "measurement-infinite": Kind(
        "error",
        "Columns of measurements with infinite numbers, or larger ones than can be computed with",
        "Correct them, or take these rows out; a column called 'attribute_...' is not learned from.",
    ),
    "decimals-written-in-two-ways": Kind(
        "error",
        "Columns of measurements that write decimals with a comma while others, or other cells, have a point",
        "Write all of them alike: one of the two may part thousands.",
    ),
    "comma-may-part-thousands": Kind(
        "warning",
        "Columns of measurements in which every comma has three digits behind it, read as decimal commas",
        "If they part thousands, write the numbers without them.",
    ),
    "measurement-constant": Kind(
        "warning", "Columns of measurements that say the same in every row, left out", "Check that this is right."
    ),
    "measurement-nearly-constant": Kind(
        "warning",
        "Columns of measurements that say the same in all but a few rows",
        "A fold whose training part has none of these rows cannot learn how far the column spreads, and is refused: "
        "call the column 'attribute_...' if it tells nothing.",
    ),
    "equal-measurements": Kind(
        "warning", "Measurements that are equal in every row", "Keep one of them: two teach no more than one."
    ),
    "measurement-equals-label": Kind(
        "error",
        "Measurements that say the label in other words: one value for each class in every row",
        "Take them out, or call them 'attribute_...': what is known only with the truth cannot be measured before it.",
    ),
    "case-without-images": Kind(
        "error", "Cases of several rows, of which no image is there", "Add the images, or take these rows out."
    ),
    "case-contradicts-itself": Kind(
        "error",
        "Cases of several rows that say different things of it",
        "Say the same in all rows of a case; if they are cases of their own, call the column that ties them "
        "'attribute_...'.",
    ),
    "order-not-known": Kind(
        "warning",
        "Columns or cases of several images that do not say their order, so that the table's order was taken",
        "Number the images in a column called 'order', or check that they stand in the right order.",
    ),
    "similar-class-names": Kind("error", "Classes that differ in upper and lower case only", "Write each in one way."),
    "several-labels-in-one-cell": Kind(
        "warning",
        "Classes that seem to be several labels in one cell, learned as classes of their own",
        "If they are, give each label a column of its own with 0 and 1.",
    ),
    "unknown-label": Kind(
        "warning", "Cases with a label that is not known", "They are not learned from where unknown."
    ),
    "patient-not-known": Kind(
        "warning", "Cases without a patient", "Each counts as a patient of its own; name the patient if it is not."
    ),
    "patient-in-file-only": Kind(
        "error",
        "Cases whose patient the file names and the table does not",
        "Name the patient in every row, or leave the column of patients out: files then say who it is.",
    ),
    "no-patient-named": Kind(
        "warning",
        "No case says who its patient is: every case counts as a patient of its own",
        "If patients have several, name them: else the numbers come out too good.",
    ),
    "similar-patient-ids": Kind(
        "error",
        "Cases whose patients are called alike, such as 1 and 001, or p1 and P1",
        "Write each patient in one way, or two that are different people less alike.",
    ),
    # the splits
    "case-in-two-splits": Kind("error", "Cases that are listed in two official splits", "List each in one."),
    "split-without-case": Kind("warning", "Names in the split lists that have no annotation", "Check what is missing."),
    "patient-in-two-splits": Kind(
        "warning",
        "Cases of a patient who is in two official splits, or in the test split and in none",
        "Put all images of a patient into one split. The scheme 'official' stops at them; all others keep patients "
        "together and learn from none who is in the test split.",
    ),
    "duplicates-in-two-splits": Kind(
        "warning",
        "Cases that share all pixels (or measurements) across official splits, or with the test split and are in none",
        "Remove the copies from one of the splits. The scheme 'official' stops at them; all others keep copies "
        "together and learn from none that is in the test split.",
    ),
    "near-copies-in-two-splits": Kind(
        "warning",
        "Cases that show nearly the same picture as one in another official split",
        "Look at them. If they are of one patient, name the patient; if they are copies, remove one.",
    ),
    # the marks
    "turned-image": Kind(
        "error",
        "Marked images with an orientation tag, so that marks may be meant for the image before or after turning",
        "Save the images upright, without the tag.",
    ),
    "box-clipped": Kind("warning", "Boxes that stuck out of their image by at most 2 px, clipped", "Nothing to do."),
    "box-outside": Kind("error", "Cases with a box that reaches out of its image", "Correct or remove these boxes."),
    "box-without-area": Kind("error", "Cases with a box that has no area", "Correct or remove these boxes."),
    "empty-mask": Kind("error", "Cases with a mask that has no pixel", "Correct or remove these masks."),
    "empty-mask-left-out": Kind("warning", "Mask files without a pixel, left out", "Check that none lost its content."),
    "mask-size": Kind("error", "Cases whose masks and image differ in size", "Make them from the same image."),
    "one-mask-in-parts": Kind(
        "warning",
        "No image has more than one mask, and there are masks of several separate parts",
        "If each part is an object of its own, give each a number (or a mask) of its own.",
    ),
    "crowd-annotation": Kind(
        "warning",
        "Crowd annotations, left out: a mark that is found there counts as false, unlike in COCO",
        "Mark single objects.",
    ),
    "annotation-names-another-file": Kind(
        "warning", "Annotations that name another image than their own file name does", "The file name was believed."
    ),
    # the whole
    "no-cases": Kind("error", "No cases", "Check that the path is right."),
    "duplicate-id": Kind("error", "Case ids that occur more than once", "Give every case an id of its own."),
    "no-marks": Kind("error", "No case has a mark", "Add annotations."),
    "one-class-only": Kind("error", "All cases are of one class", "Add cases of another; one cannot be told apart."),
    "class-without-cases": Kind("warning", "Classes that no case has", "They cannot be learned or measured."),
    "label-never-known": Kind(
        "error",
        "Labels that no case has an answer to, neither yes nor no",
        "Fill in what is known, or take the label out of the data set: nothing would say what its scores mean.",
    ),
    "class-with-few-patients": Kind(
        "warning",
        "Classes that very few patients have",
        "Check that no name is misspelt; merge such classes, or add cases: learning and measuring need several.",
    ),
    "class-with-fewer-cases-than-folds": Kind(
        "error", "Classes with fewer cases or patients than folds", "Use fewer folds, merge classes, or add cases."
    ),
    "duplicate-images": Kind(
        "warning",
        "Cases that share all pixels, or all measurements, with another",
        "Remove copies: they stay on one side of every split, but each counts as an image of its own.",
    ),
    "many-duplicate-images": Kind(
        "error",
        "More than one in twenty cases is a copy of a case of another patient",
        "Remove the copies, or give copies one patient_id: as many patients they make every interval too narrow.",
    ),
    "duplicates-with-different-truth": Kind(
        "warning",
        "Cases that share all pixels, or all measurements, and not the truth",
        "Find out which truth is right.",
    ),
}
"""Every `Problem.name`, with its severity unless a check says otherwise."""


class ProblemLog:
    """Collects what is met and makes one problem of each kind."""

    def __init__(self) -> None:
        self._met: dict[tuple[str, Severity], dict[str, str]] = {}

    def add(self, name: str, where: str, detail: str = "", *, severity: Severity | None = None) -> None:
        """Note one place; `detail` is shown behind it, for the first few."""
        places = self._met.setdefault((name, severity or KINDS[name].severity), {})
        places.setdefault(where, detail)

    def problems(self) -> tuple[Problem, ...]:
        """One problem of each kind, errors first, then by name."""
        return tuple(
            _problem(name, severity, self._met[name, severity])
            for name, severity in sorted(self._met, key=lambda key: (key[1] != "error", key[0]))
        )


def _problem(name: str, severity: Severity, places: Mapping[str, str]) -> Problem:
    shown = [f"{where} ({detail})" if detail else where for where, detail in list(places.items())[:_SHOWN] if where]
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    listed = f": {len(places)} ({'; '.join(shown)}{more})" if shown else ""
    return Problem(severity, name, f"{KINDS[name].found}{listed}. {KINDS[name].advice}", tuple(filter(None, places)))
