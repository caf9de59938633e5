"""What a split does not part: patients and identical images on both sides, and images that are nearly the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress

from overread.data.fold import Fold
from overread.data.manifest import Case, ImageRef, Manifest, Problem
from overread.data.near_copies import near_copies
from overread.data.problem_kinds import ProblemLog
from overread.data.problems import ImageFacts
from overread.errors import DataLeak, UnreadableImage

NearPairs = Sequence[tuple[str, str]]
"""Case ids whose images show nearly the same picture."""

EXACT = {
    "patient-in-two-splits": "of a patient who is in two splits",
    "duplicates-in-two-splits": "with all pixels of a case in another split",
}
"""The leaks between splits that are no matter of opinion, in words for what a case is."""


def near_pairs(
    manifest: Manifest, facts: Callable[[ImageRef], ImageFacts], same: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The cases that show nearly the same picture and are of different patients, as far as the data set says.

    Equal pictures are no news here: they are kept together like those of one patient. Unreadable images are left out.

    Args:
        manifest: the data set.
        facts: how to know an image. Raises UnreadableImage for one that cannot be read.
        same: case id -> digest of its pixels, for the cases where it is known.
    """
    owners: list[Case] = []
    thumbnails: list[bytes] = []
    for case in manifest.cases:
        for ref in case.images:
            with suppress(UnreadableImage):
                thumbnails.append(facts(ref).thumbnail)
                owners.append(case)
    pairs = ((owners[first], owners[second]) for first, second in near_copies(thumbnails))
    return sorted(
        {
            (one.case_id, other.case_id)
            for one, other in pairs
            if one.patient_id != other.patient_id and same.get(one.case_id) != same.get(other.case_id)
        }
    )


def between_splits(manifest: Manifest, same: Mapping[str, str], near: NearPairs = ()) -> list[Problem]:
    """What the data set's own splits share, as warnings; `refuse` makes an error of what must not be.

    Args:
        manifest: the data set with all of its splits.
        same: case id -> digest of its pixels, for the cases where it is known.
        near: from `near_pairs`.
    """
    log = ProblemLog()
    split_of = {case.case_id: case.split for case in manifest.cases}
    for case in _across(manifest.cases, lambda case: case.patient_id):
        log.add("patient-in-two-splits", case.case_id, case.split or "no split")  # never the patient
    for case in _across(manifest.cases, lambda case: same.get(case.case_id)):
        log.add("duplicates-in-two-splits", case.case_id, case.split or "no split")
    for pair in near:
        if _is_leak({split_of[key] for key in pair}):
            for key, other in (pair, pair[::-1]):
                log.add("near-copies-in-two-splits", key, f"{split_of[key] or 'no split'}, like {other}")
    return list(log.problems())


def exact(leaks: Iterable[Problem]) -> list[Problem]:
    """Those of `between_splits` that are no matter of opinion: the same patient, the same pixels."""
    return [leak for leak in leaks if leak.name in EXACT]


def refuse(manifest: Manifest, leaks: Iterable[Problem], *, advice: str) -> None:
    """Stop at what splits must not share.

    Raises:
        DataLeak: at patients or identical images in two splits.
    """
    if found := exact(leaks):
        listed = "\n".join(f"  {leak.message}" for leak in found)
        raise DataLeak(
            f"The official splits of '{manifest.name}' share what would make every number too good:\n{listed}\n{advice}"
        )


def across_folds(folds: Sequence[Fold], near: NearPairs) -> list[tuple[str, str]]:
    """The nearly equal pairs of which, in some fold, one was learned from and the other tested."""
    found = []
    parts = [({*fold.fit, *fold.validation}, set(fold.test)) for fold in folds]
    for one, other in near:
        if any((one in learned and other in test) or (other in learned and one in test) for learned, test in parts):
            found.append((one, other))
    return found


def tied(cases: Sequence[Case], same: Mapping[str, str], near: NearPairs = ()) -> tuple[int, int, int]:
    """How many cases are kept together with another of their patient, an identical one of another, or a near copy."""
    of_patient = Counter(case.patient_id for case in cases)
    showing: dict[str, set[str]] = {}
    for case in cases:
        if case.case_id in same:
            showing.setdefault(same[case.case_id], set()).add(case.patient_id)
    return (
        sum(of_patient[case.patient_id] > 1 for case in cases),
        sum(len(showing[same[case.case_id]]) > 1 for case in cases if case.case_id in same),
        len({case.case_id for case in cases} & {key for pair in near for key in pair}),
    )


def _across(cases: Sequence[Case], key_of: Callable[[Case], Hashable]) -> list[Case]:
    """The cases whose key is in two splits."""
    splits: dict[Hashable, set[str | None]] = {}
    for case in cases:
        splits.setdefault(key_of(case), set()).add(case.split)
    return [case for case in cases if key_of(case) is not None and _is_leak(splits[key_of(case)])]


def _is_leak(splits: set[str | None]) -> bool:
    """Whether these are splits that must not meet; training takes the cases that have none."""
    return len(splits - {None}) > 1 or splits >= {"test", None}
