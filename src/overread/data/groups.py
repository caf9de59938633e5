"""Which cases must stay together: those of a patient, and of all patients who share an image or nearly one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overread.data.leaks import NearPairs
from overread.data.manifest import Case, Manifest
from overread.errors import ManifestError

Whole = NDArray[np.int64]

MOST_NEAR = 0.1
"""Near copies tie no group of three or more together that holds a larger share of the cases: what looks like half of
all others is no copy, and there would be nothing left to part."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Cases that must stay together: those of a patient, and of all patients who share an image, or nearly one.

    Args:
        cases: the cases of each group; in an order that does not depend on that of the manifest.
        counts: `(group, column)`: what each group adds to each of `columns`; behind these stand a column for cases
            that show no class and, where a case can show several classes, one for the cases themselves.
        columns: the names of the first columns (see `columns_of`).
    """

    cases: tuple[tuple[Case, ...], ...]
    counts: Whole
    columns: tuple[str, ...]

    @property
    def sizes(self) -> Whole:
        """`(group,)`: how many cases each has."""
        return np.array([len(members) for members in self.cases], dtype=np.int64)

    def members(self, chosen: Whole | None = None) -> list[Case]:
        """The cases of some groups; by default of all."""
        return [case for group in (range(len(self.cases)) if chosen is None else chosen) for case in self.cases[group]]

    def only(self, chosen: Whole) -> Groups:
        """Some of the groups."""
        return Groups(tuple(self.cases[group] for group in chosen), self.counts[chosen], self.columns)

    def ids(self, chosen: Whole) -> tuple[str, ...]:
        """The case ids of some groups, sorted."""
        return tuple(sorted(case.case_id for case in self.members(chosen)))


def groups_of(manifest: Manifest, cases: Sequence[Case], same: Mapping[str, str], near: NearPairs = ()) -> Groups:
    """Tie the cases of each patient, and patients with an identical image or near copies, into groups.

    Args:
        manifest: the data set.
        cases: which of it.
        same: case id -> digest of its pixels, for the cases where it is known.
        near: near copies to be tied (see `near_ties`).
    """
    cases = sorted(cases, key=lambda case: case.case_id)
    group = _numbered(cases, same, near)
    members: list[list[Case]] = [[] for _ in range(int(group.max(initial=-1)) + 1)]
    for case, number in zip(cases, group.tolist(), strict=True):
        members[number].append(case)
    shown = shown_by(manifest, cases)
    counts = np.zeros((len(members), shown.shape[1]), dtype=np.int64)
    np.add.at(counts, group, shown)
    return Groups(tuple(map(tuple, members)), counts, columns_of(manifest))


def tied_patients(cases: Sequence[Case], same: Mapping[str, str], near: NearPairs = ()) -> dict[str, str]:
    """Case id -> the one patient who stands for all that share an image with each other, or nearly one.

    Who shares a picture is no second witness: such patients count as one in an interval.

    Args:
        cases: all that are known.
        same: case id -> digest of its pixels, for the cases where it is known.
        near: near copies to be tied (see `near_ties`).
    """
    cases = sorted(cases, key=lambda case: case.case_id)
    groups = _numbered(cases, same, near).tolist()
    first: dict[int, str] = {}
    return {case.case_id: first.setdefault(group, case.patient_id) for case, group in zip(cases, groups, strict=True)}


def near_ties(cases: Sequence[Case], same: Mapping[str, str], near: NearPairs) -> NearPairs:
    """The near copies that can be tied: all but those of a group that would be too large (see `MOST_NEAR`).

    Args:
        cases: all that are parted.
        same: case id -> digest of its pixels, for the cases where it is known.
        near: case ids of near copies. A near copy of a near copy is in the same group.
    """
    alone, together = _numbered(cases, same), _numbered(cases, same, near)
    sizes = np.bincount(together)
    tied = np.bincount(together[np.unique(alone, return_index=True)[1]])
    is_too_large = (tied > 2) & (sizes > MOST_NEAR * len(cases))
    group_of = {case.case_id: number for case, number in zip(cases, together.tolist(), strict=True)}
    return [pair for pair in near if not is_too_large[group_of[pair[0]]]]


def _numbered(cases: Sequence[Case], same: Mapping[str, str], near: NearPairs = ()) -> Whole:
    """`(case,)`: the group of each case, numbered by the first of each: neither patient ids nor digests decide."""
    nodes: dict[tuple[str, str], int] = {}
    patients = [nodes.setdefault(("patient", case.patient_id), len(nodes)) for case in cases]
    images = [
        nodes.setdefault(("image", same[case.case_id]), len(nodes)) if case.case_id in same else patient
        for case, patient in zip(cases, patients, strict=True)
    ]
    node_of = {case.case_id: patient for case, patient in zip(cases, patients, strict=True)}
    pairs = [pair for pair in near if pair[0] in node_of and pair[1] in node_of]
    rows = [*patients, *(node_of[one] for one, _ in pairs)]
    columns = [*images, *(node_of[other] for _, other in pairs)]
    ties = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(len(nodes), len(nodes)))
    _, component = connected_components(ties, directed=False)
    _, first, group = np.unique(component[patients], return_index=True, return_inverse=True)
    numbers: Whole = np.argsort(np.argsort(first))[group]
    return numbers


def columns_of(manifest: Manifest) -> tuple[str, ...]:
    """What every part needs: each class and, of several labels, of each also a known "no", which `None` is not."""
    absent = [f"not {name}" for name in manifest.classes] if manifest.task == "multi-label" else []
    return (*manifest.classes, *absent)


def shown_by(manifest: Manifest, cases: Sequence[Case]) -> Whole:
    """`(case, column)`: what each case adds to the columns of `Groups.counts`."""
    columns = columns_of(manifest)
    place = {name: number for number, name in enumerate(columns)}
    shown = np.zeros((len(cases), len(columns) + 2), dtype=np.int64)
    for row, case in enumerate(cases):
        present, absent = [mark.label for mark in case.marks or ()], []
        if not manifest.marks_lesions:
            present = [name for name, value in case.labels.items() if value]
        if manifest.task == "multi-label":
            absent = [f"not {name}" for name, value in case.labels.items() if value is False]
        for name in (*present, *absent):
            if name not in place:
                raise ManifestError(
                    f"Case '{case.case_id}' shows '{name}', which is no class of '{manifest.name}' "
                    f"({', '.join(manifest.classes)}). Correct the label, or add the class."
                )
            shown[row, place[name]] += 1
        shown[row, -2] = not present
        shown[row, -1] = 1
    return shown[:, :-1] if manifest.task == "single-label" else shown
