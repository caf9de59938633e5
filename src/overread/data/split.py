"""Which cases a model is fitted on, which choose its epoch and which test it, with no patient in two of these parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overread.data.manifest import Case, Manifest
from overread.data.section import DataSection
from overread.errors import ManifestError
from overread.provenance import seed_for

_log = logging.getLogger(__name__)

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One way of parting a data set, as sorted case ids.

    Args:
        index: its number, from 0.
        fit: what the model learns from.
        validation: what chooses the epoch; nothing that is reported rests on it. Empty where no share is asked for.
        test: what the model is measured on.
        left_out: training cases of an official split whose patient, or whose very pixels, are also in its test part.
    """

    index: int
    fit: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Groups:
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

    def ids(self, chosen: Whole) -> tuple[str, ...]:
        """The case ids of some groups, sorted."""
        return tuple(sorted(case.case_id for group in chosen.tolist() for case in self.cases[group]))


def folds_of(
    manifest: Manifest, section: DataSection, *, seed: int, same: Mapping[str, str] | None = None
) -> list[Fold]:
    """Part a data set so that every number that is reported comes from patients the model never saw.

    Parts are made of whole groups (see `Fold`) and hold each class in nearly the same share. How nearly depends on
    the groups: with `m` cases of a class in its largest group, `n` in all, and `k` parts of which one shall hold the
    share `s`, that part gets no more than `s * n + (1 - 1 / k) * m` of them where each case and each group shows one
    class; in every case the squared errors of the shares, summed over parts and classes (and over the cases that
    show no class, and all cases), are at most `(1 - sum(s ** 2)) * sum(m / n)`.

    Args:
        manifest: the data set; its official "test" cases are never part of anything.
        section: scheme and shares.
        seed: of the recipe; the same seed gives the same folds, whatever the order of the cases.
        same: case id -> digest of its pixels, for the cases where it is known; cases with equal digests stay
            together like those of one patient.

    Returns:
        One fold for "hold-out" and "official", `section.folds` for "k-fold".

    Raises:
        ManifestError: where the data set has no such parts, or a part would be empty or lack a class to learn. A
            class that no case at all shows is none of this function's business (see `problems`).
    """
    if section.scheme == "official":
        return [_official(manifest, section, seed=seed, same=same or {})]
    groups = _groups_of(manifest, [case for case in manifest.cases if case.split != "test"], same or {})
    if section.scheme == "k-fold":
        shares = [1 / section.folds] * section.folds
        tested = range(section.folds)
    else:
        shares = [1 - section.held_out, section.held_out]
        tested = range(1, 2)
    _refuse_too_few(groups, parts=len(shares), scheme=section.scheme)
    everything = np.arange(len(groups.cases))
    part = _dealt(groups, everything, shares, seed=seed_for(seed, "split", section.scheme))
    return [
        _fold(groups, index, everything[part != number], everything[part == number], section=section, seed=seed)
        for index, number in enumerate(tested)
    ]


def _official(manifest: Manifest, section: DataSection, *, seed: int, same: Mapping[str, str]) -> Fold:
    """The data set's own "train" to learn from and "val" to test on."""
    found = {split: sum(case.split == split for case in manifest.cases) for split in ("train", "val", None)}
    if not found["train"] or not found["val"]:
        raise ManifestError(
            f"scheme = 'official' needs cases in the data set's own splits 'train' and 'val'; '{manifest.name}' has "
            f"{found['train']} and {found['val']}. Use scheme = 'k-fold' or 'hold-out'."
        )
    if found[None]:
        raise ManifestError(
            f"scheme = 'official' needs the split of every case; {found[None]} cases of '{manifest.name}' have none. "
            f"Name their split, or use scheme = 'k-fold', which needs none."
        )
    groups = _groups_of(manifest, [case for case in manifest.cases if case.split != "test"], same)
    is_tested = np.array([any(case.split == "val" for case in members) for members in groups.cases])
    fold = _fold(groups, 0, np.flatnonzero(~is_tested), np.flatnonzero(is_tested), section=section, seed=seed)
    own = {case.case_id for case in manifest.cases if case.split == "val"}
    left_out = tuple(case_id for case_id in fold.test if case_id not in own)
    if left_out:
        _log.warning("%d training cases are left out: their patient or image is also in 'val'", len(left_out))
    return Fold(0, fold.fit, fold.validation, tuple(sorted(own)), left_out)


def _fold(groups: _Groups, index: int, training: Whole, test: Whole, *, section: DataSection, seed: int) -> Fold:
    """Take the validation part from the training part, and refuse a fold with which nothing could be learned."""
    fit, validation = training, training[:0]
    if section.validation:
        shares = [1 - section.validation, section.validation]
        part = _dealt(groups, training, shares, seed=seed_for(seed, "validation", index))
        fit, validation = training[part == 0], training[part == 1]
    parts = {"fit": fit, "test": test} | ({"validation": validation} if section.validation else {})
    for name, chosen in parts.items():
        if not len(chosen):
            raise ManifestError(
                f"The {name} part of fold {index} would be empty: its share of {len(groups.cases)} groups of patients "
                f"is less than one. Add patients, use fewer folds, or set another share (held_out = "
                f"{section.held_out}, validation = {section.validation}; validation = 0 needs no such part)."
            )
    shown = groups.counts[:, : len(groups.classes)]
    lacking = np.flatnonzero((shown[fit].sum(axis=0) == 0) & (shown.sum(axis=0) > 0))
    if len(lacking):
        names = ", ".join(f"'{groups.classes[column]}'" for column in lacking)
        raise ManifestError(
            f"The model of fold {index} would never see {names}: all patients who show it fall into other parts. "
            f"Add patients with it, set a smaller validation share, or take the class out of the data set."
        )
    return Fold(index, groups.ids(fit), groups.ids(validation), groups.ids(test))


def _refuse_too_few(groups: _Groups, *, parts: int, scheme: str) -> None:
    advice = f"Use fewer than {parts} folds, or add patients" if scheme == "k-fold" else "Add patients"
    if len(groups.cases) < parts:
        raise ManifestError(
            f"scheme = '{scheme}' needs at least {parts} patients (those who share an identical image count as one); "
            f"found {len(groups.cases)}. {advice}."
        )
    shown_by = (groups.counts[:, : len(groups.classes)] > 0).sum(axis=0)
    rare = [f"'{name}' ({n})" for name, n in zip(groups.classes, shown_by.tolist(), strict=True) if 0 < n < parts]
    if rare:
        raise ManifestError(
            f"scheme = '{scheme}' needs every class in at least {parts} patients (those who share an identical image "
            f"count as one); found fewer for {', '.join(rare)}. {advice} with these classes, or take them out of the "
            f"data set."
        )


def _groups_of(manifest: Manifest, cases: Sequence[Case], same: Mapping[str, str]) -> _Groups:
    """Tie the cases of each patient, and patients with an identical image, into groups."""
    if not cases:
        raise ManifestError(f"'{manifest.name}' has no case to learn from: all are in the official split 'test'.")
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
    shown = _shown(manifest, cases)
    counts = np.zeros((len(members), shown.shape[1]), dtype=np.int64)
    np.add.at(counts, group, shown)
    return _Groups(tuple(map(tuple, members)), counts, manifest.classes)


def _shown(manifest: Manifest, cases: Sequence[Case]) -> Whole:
    """`(case, column)`: what each case adds to the columns of `_Groups.counts`."""
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


def _dealt(groups: _Groups, chosen: Whole, shares: Sequence[float], *, seed: int) -> Whole:
    """Deal groups out to parts, the rarest class and its largest groups first, each to the part that needs it most.

    This is the greedy rule of Sechidis et al. (On the Stratification of Multi-label Data, 2011), with one need that
    weighs all classes of a group at once, so that groups of several cases and marks can be dealt as well: giving each
    group to the part with the greatest need keeps the sum of squared errors of the shares as low as one step can.

    Args:
        groups: all groups.
        chosen: `(dealt,)`: which of them to deal.
        shares: of each part; their sum is 1.
        seed: of the order among groups that are alike.

    Returns:
        `(dealt,)`: the part of each chosen group.
    """
    counts, sizes = groups.counts[chosen], groups.sizes[chosen].tolist()
    total = counts.sum(axis=0)
    # An error of one case weighs more where a class has few: errors are counted as shares of the class.
    weight = (1 / np.maximum(total, 1) ** 2).tolist()
    entries: list[list[tuple[int, int]]] = [[] for _ in sizes]
    for group, column in np.argwhere(counts).tolist():
        entries[group].append((column, int(counts[group, column])))

    given = [[0] * len(weight) for _ in shares]
    seen = [0] * len(weight)
    cases_given, cases_seen = [0] * len(shares), 0
    part = np.zeros(len(sizes), dtype=np.int64)
    for group in _order(counts, seed=seed).tolist():
        cases_seen += sizes[group]
        for column, n in entries[group]:
            seen[column] += n
        best, greatest = 0, (-np.inf, -np.inf)
        for number, share in enumerate(shares):
            own = given[number]
            need = 0.0
            for column, n in entries[group]:
                need += weight[column] * n * (share * seen[column] - own[column])
            # Parts in equal need of a class are told apart by their number of cases.
            if (both := (need, share * cases_seen - cases_given[number])) > greatest:
                best, greatest = number, both
        part[group] = best
        cases_given[best] += sizes[group]
        for column, n in entries[group]:
            given[best][column] += n
    return part


def _order(counts: Whole, *, seed: int) -> Whole:
    """`(group,)`: by the rarest class that each shows, then by how much it shows of it, then by chance."""
    shown_by = (counts > 0).sum(axis=0)
    rarity = np.where(counts > 0, shown_by, len(counts) + 1)
    rarest = rarity.argmin(axis=1)
    rows = np.arange(len(counts))
    chance = np.random.default_rng(seed).permutation(len(counts))
    order: Whole = np.lexsort((chance, -counts[rows, rarest], rarest, rarity[rows, rarest]))
    return order
