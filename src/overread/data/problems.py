"""What is wrong with a data set: what its source met, and what only the cases together or the pixels show."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from overread import io
from overread.data.inputs import measured
from overread.data.manifest import Case, ImageRef, Manifest, Problem
from overread.data.near_copies import thumbnail_of
from overread.data.problem_kinds import ProblemLog
from overread.errors import UnreadableImage
from overread.image import Image

_MOST_DUPLICATES = 0.05
_FEW_PATIENTS = 3
_NEGLIGIBLE_PX = 1e-3
"""How far a box may reach out by rounding."""


@dataclass(frozen=True)
class ImageFacts:
    """What the checks need to know of an image, small enough to be kept.

    Args:
        shape: (row, column) or (slice, row, column).
        channels: 1 for grey, 3 for colour.
        pixel_digest: SHA-256 (hex) of shape and pixels; equal for equal pixels in whatever file format.
        thumbnail: a small picture of it (see `thumbnail_of`), to find nearly equal ones.
    """

    shape: tuple[int, ...]
    channels: int
    pixel_digest: str
    thumbnail: bytes


def facts_of(ref: ImageRef) -> ImageFacts:
    """Read an image and say what it is.

    Raises:
        UnreadableImage: it cannot be read.
    """
    return facts_in(io.read(ref.path, item=ref.item))


def facts_in(image: Image) -> ImageFacts:
    """What the checks need to know of an image that was read."""
    return ImageFacts(image.shape, image.channels, pixel_digest(image), thumbnail_of(image))


def pixel_digest(image: Image) -> str:
    """SHA-256 (hex) of shape and pixels."""
    digest = hashlib.sha256(repr(image.pixels.shape).encode())
    digest.update(image.pixels.tobytes())
    return digest.hexdigest()


def case_facts(case: Case, facts: Callable[[ImageRef], ImageFacts]) -> tuple[ImageFacts, ...]:
    """What the checks need to know of each image of a case; a row of measurements counts as one image.

    Raises:
        UnreadableImage: one cannot be read.
    """
    return (facts_in(measured(case)),) if case.measurements else tuple(facts(ref) for ref in case.images)


def problems(
    manifest: Manifest,
    *,
    folds: int | None = None,
    readable: bool = True,
    facts: Callable[[ImageRef], ImageFacts] | None = None,
) -> list[Problem]:
    """Everything that is wrong with a data set, errors first; see `problem_kinds.KINDS` for the names.

    Args:
        manifest: the data set.
        folds: for k-fold cross-validation, in how many parts it is going to be parted.
        readable: whether to read every image; without it, nothing that only pixels show is found.
        facts: how to know an image; by default it is read. Raises UnreadableImage for one that cannot be.
    """
    log = ProblemLog()
    _check_ids(manifest, log)
    _check_patients(manifest, log)
    _check_classes(manifest, folds, log)
    _check_marks(manifest, log)
    if readable:
        known = _known(manifest, facts or facts_of, log)
        _check_marks_fit(manifest, known, log)
        _check_parts(manifest, log)
        _check_duplicates(manifest, known, log)
    return sorted([*manifest.found, *log.problems()], key=lambda problem: (problem.severity != "error", problem.name))


def _known(
    manifest: Manifest, facts: Callable[[ImageRef], ImageFacts], log: ProblemLog
) -> dict[str, tuple[ImageFacts, ...]]:
    known = {}
    for case in manifest.cases:
        try:
            known[case.case_id] = case_facts(case, facts)
        except (UnreadableImage, OSError) as error:
            log.add("unreadable-file", case.case_id, str(error) if isinstance(error, UnreadableImage) else "")
    return known


def _check_ids(manifest: Manifest, log: ProblemLog) -> None:
    if not manifest.cases:
        log.add("no-cases", "")
    seen: set[str] = set()
    for case in manifest.cases:
        if case.case_id in seen:
            log.add("duplicate-id", case.case_id)
        seen.add(case.case_id)


def _check_patients(manifest: Manifest, log: ProblemLog) -> None:
    if manifest.cases and not manifest.names_patients:
        log.add("no-patient-named", "")
    alike: dict[str, set[str]] = {}
    for case in manifest.cases:
        alike.setdefault(_plain(case.patient_id), set()).add(case.patient_id)
    named = {_plain(case.patient_id) for case in manifest.cases if case.patient_id != case.case_id}
    for case in manifest.cases:
        if len(alike[_plain(case.patient_id)]) > 1 and _plain(case.patient_id) in named:
            log.add("similar-patient-ids", case.case_id)  # never the patient, for logs


def _plain(patient: str) -> str:
    """A patient's id without what a spreadsheet or a person changes: case, leading zeros, decimals, kind of gap.

    >>> _plain("001") == _plain("1.0") == _plain("1"), _plain("P 01") == _plain("p-1")
    (True, True)
    """
    plain = re.sub(r"[\s_-]+", "-", re.sub(r"(?<=\d)\.0$", "", patient.strip().lower()))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", plain)


def _check_classes(manifest: Manifest, folds: int | None, log: ProblemLog) -> None:
    with_class = {name: [case for case in manifest.cases if _has(case, name)] for name in manifest.classes}
    if manifest.cases and manifest.marks_lesions and not any(with_class.values()):
        log.add("no-marks", "")
        return
    if manifest.task == "single-label" and manifest.cases and sum(map(bool, with_class.values())) < 2:
        log.add("one-class-only", next((name for name, cases in with_class.items() if cases), ""))
    for name, cases in with_class.items():
        groups = {name: cases}
        if manifest.task == "multi-label":
            groups[f"not {name}"] = [case for case in manifest.cases if case.labels.get(name) is False]
            if not any(groups.values()):
                log.add("label-never-known", name)
                continue
        for group, members in groups.items():
            patients = len({case.patient_id for case in members})
            if not members:
                log.add("class-without-cases", group)
            elif folds is None and patients < _FEW_PATIENTS and not manifest.marks_lesions:
                log.add("class-with-few-patients", group, f"{len(members)} cases of {patients} patients")
            elif folds is not None and patients < folds:
                log.add(
                    "class-with-fewer-cases-than-folds",
                    group,
                    f"{len(members)} cases of {patients} patients for {folds} folds",
                    severity="warning" if manifest.marks_lesions else "error",
                )


def _has(case: Case, name: str) -> bool:
    return case.labels.get(name) is True or any(mark.label == name for mark in case.marks or ())


def _check_marks(manifest: Manifest, log: ProblemLog) -> None:
    for case in manifest.cases:
        for mark in case.marks or ():
            if mark.region is None:
                continue
            left, top, right, bottom = mark.region.box
            if mark.region.mask is not None and mark.region.mask.area_px == 0:
                log.add("empty-mask", case.case_id)
            elif not (right > left and bottom > top):  # also for NaN
                log.add("box-without-area", case.case_id, _shown(mark.region.box))


def _check_marks_fit(manifest: Manifest, known: Mapping[str, Sequence[ImageFacts]], log: ProblemLog) -> None:
    for case in manifest.cases:
        for facts in known.get(case.case_id, ()):
            rows, columns = facts.shape[-2:]
            for region in (mark.region for mark in case.marks or () if mark.region is not None):
                if region.mask is not None and region.mask.shape != (rows, columns):
                    log.add("mask-size", case.case_id, f"mask {region.mask.shape}, image {(rows, columns)} px")
                left, top, right, bottom = region.box
                over = max(-left, -top, right - columns, bottom - rows)
                if region.mask is None and over > _NEGLIGIBLE_PX:
                    log.add("box-outside", case.case_id, f"{_shown(region.box)} in {columns} x {rows} px")


def _check_parts(manifest: Manifest, log: ProblemLog) -> None:
    """Tell masks of whole classes, taken for masks of single objects: each image has one, in several parts."""
    if manifest.task != "masks" or any(len(case.marks or ()) > 1 for case in manifest.cases):
        return
    from scipy import ndimage  # slow to import, and a reading comes by here

    for case in manifest.cases:
        for mark in case.marks or ():
            if mark.region is not None and mark.region.mask is not None:
                parts = int(ndimage.label(mark.region.mask.to_array(), structure=np.ones((3, 3)))[1])
                if parts > 1:
                    log.add("one-mask-in-parts", case.case_id, f"{parts} parts")


def _check_duplicates(manifest: Manifest, known: Mapping[str, Sequence[ImageFacts]], log: ProblemLog) -> None:
    elsewhere = []
    for group in _copies(manifest, known):
        ids = [case.case_id for case in group]
        for case_id in ids:
            others = ", ".join(other for other in ids[:4] if other != case_id)
            log.add("duplicate-images", case_id, f"= {others}")
            if len({_truth(case) for case in group}) > 1:
                log.add("duplicates-with-different-truth", case_id, f"= {others}")
        elsewhere += _of_other_patients(group)
    if len(elsewhere) > _MOST_DUPLICATES * len(manifest.cases):
        for case_id in elsewhere:
            # a few coarse numbers are easily equal in two people, all pixels of their pictures are not
            log.add("many-duplicate-images", case_id, severity="warning" if manifest.measurements else None)


def _of_other_patients(group: Sequence[Case]) -> list[str]:
    """The copies that belong to another patient than the first of the group: one patient that is counted as several."""
    return [case.case_id for case in group[1:] if case.patient_id != group[0].patient_id]


def _copies(manifest: Manifest, known: Mapping[str, Sequence[ImageFacts]]) -> Iterable[list[Case]]:
    """The cases that share all pixels, by their order in the manifest."""
    groups: dict[tuple[str, ...], list[Case]] = {}
    for case in manifest.cases:
        if known.get(case.case_id):
            groups.setdefault(tuple(each.pixel_digest for each in known[case.case_id]), []).append(case)
    return [group for group in groups.values() if len(group) > 1]


def _truth(case: Case) -> tuple[object, ...]:
    marks = None if case.marks is None else frozenset((mark.label, mark.region) for mark in case.marks)
    return tuple(sorted(case.labels.items(), key=lambda item: item[0])), marks


def _shown(box: tuple[float, float, float, float]) -> str:
    return "({})".format(", ".join(f"{edge:g}" for edge in box))
