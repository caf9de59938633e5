"""Which cases must stay together: those of a patient, and of all patients who share an identical image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overread.data.manifest import Case, Manifest
from overread.errors import ManifestError

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Groups:
    """Cases that must stay together: those of a patient, and of all patients who share an identical image.

    Args:
        cases: the cases of each group; in an order that does not depend on that of the manifest.
        counts: `(group, column)`: what each group adds to each class; the columns after the classes are for cases
            that show none of them and, where a case can show several classes, for the cases themselves.
        classes: the names of the first columns.
    """

    cases: tuple[tuple[Case, ...], ...]
    counts: Whole
    classes: tuple[str, ...]

    @property
    def sizes(self) -> Whole:
        """`(group,)`: how many cases each has."""
        return np.array([len(members) for members in self.cases], dtype=np.int64)

    def members(self, chosen: Whole | None = None) -> list[Case]:
        """The cases of some groups; by default of all."""
        return [case for group in (range(len(self.cases)) if chosen is None else chosen) for case in self.cases[group]]

    def only(self, chosen: Whole) -> Groups:
        """Some of the groups."""
        return Groups(tuple(self.cases[group] for group in chosen), self.counts[chosen], self.classes)

    def ids(self, chosen: Whole) -> tuple[str, ...]:
        """The case ids of some groups, sorted."""
        return tuple(sorted(case.case_id for case in self.members(chosen)))


def groups_of(manifest: Manifest, cases: Sequence[Case], same: Mapping[str, str]) -> Groups:
    """Tie the cases of each patient, and patients with an identical image, into groups."""
    cases = sorted(cases, key=lambda case: case.case_id)
    nodes: dict[tuple[str, str], int] = {}
    patients = [nodes.setdefault(("patient", case.patient_id), len(nodes)) for case in cases]
    images = [
        nodes.setdefault(("image", same[case.case_id]), len(nodes)) if case.case_id in same else patient
        for case, patient in zip(cases, patients, strict=True)
    ]
    ties = coo_array((np.ones(len(cases), dtype=np.int8), (patients, images)), shape=(len(nodes), len(nodes)))
    _, component = connected_components(ties, directed=False)
    # Numbered by the first case of each, so that neither patient ids nor digests decide anything.
    _, first, group = np.unique(component[patients], return_index=True, return_inverse=True)
    group = np.argsort(np.argsort(first))[group]
    members: list[list[Case]] = [[] for _ in first]
    for case, number in zip(cases, group.tolist(), strict=True):
        members[number].append(case)
    shown = shown_by(manifest, cases)
    counts = np.zeros((len(members), shown.shape[1]), dtype=np.int64)
    np.add.at(counts, group, shown)
    return Groups(tuple(map(tuple, members)), counts, manifest.classes)


def shown_by(manifest: Manifest, cases: Sequence[Case]) -> Whole:
    """`(case, column)`: what each case adds to the columns of `Groups.counts`."""
    column = {name: number for number, name in enumerate(manifest.classes)}
    shown = np.zeros((len(cases), len(column) + 2), dtype=np.int64)
    for row, case in enumerate(cases):
        present = [mark.label for mark in case.marks or ()]
        if not manifest.marks_lesions:
            present = [name for name, value in case.labels.items() if value]
        for name in present:
            if name not in column:
                raise ManifestError(
                    f"Case '{case.case_id}' shows '{name}', which is no class of '{manifest.name}' "
                    f"({', '.join(manifest.classes)}). Correct the label, or add the class."
                )
            shown[row, column[name]] += 1
        shown[row, -2] = not present
        shown[row, -1] = 1
    return shown[:, :-1] if manifest.task == "single-label" else shown
