"""Which cases a model is fitted on, which choose its epoch and which test it, with no patient in two of these parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from overread.data.groups import Groups, Whole, groups_of, shown_by
from overread.data.manifest import Case, Manifest
from overread.data.section import DataSection
from overread.errors import ManifestError
from overread.provenance import seed_for

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """One way of parting a data set, as sorted case ids.

    Args:
        index: its number, from 0.
        fit: what the model learns from.
        validation: what chooses the epoch; nothing that is reported rests on it. Empty where no share is asked for.
        test: what the model is measured on.
        left_out: cases outside of the test part that nobody learns from here, because their patient, or their very
            pixels, are also in it.
    """

    index: int
    fit: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def folds_of(
    manifest: Manifest, section: DataSection, *, seed: int, same: Mapping[str, str] | None = None
) -> list[Fold]:
    """Part a data set so that every number that is reported comes from patients the model never saw.

    Parts are made of whole groups (see `Groups`) and hold each class in nearly the same share. How nearly depends on
    the groups: with `m` cases of a class in its largest group, `n` in all, and `k` parts of which one shall hold the
    share `s`, that part gets no more than `s * n + (1 - 1 / k) * m` of them where each case and each group shows one
    class; in every case the squared errors of the shares, summed over parts and classes (and over the cases that
    show no class, and all cases), are at most `(1 - sum(s ** 2)) * sum(m / n)`. This holds for each repeat, and for
    all test parts but those that the data set itself makes: its own splits, and its sites.

    Args:
        manifest: the data set; its official "test" cases are never part of anything.
        section: scheme and shares.
        seed: of the recipe; the same seed gives the same folds, whatever the order of the cases.
        same: case id -> digest of its pixels, for the cases where it is known; cases with equal digests stay
            together like those of one patient.

    Returns:
        One fold for "hold-out" and "official", `folds` for "k-fold", `repeats` times `folds` for "repeated-k-fold",
        one a site, in the order of their names, for "leave-one-site-out".

    Raises:
        ManifestError: where the data set has no such parts, or a part would be empty or lack a class to learn or to
            measure. A class that no case at all shows is none of this function's business (see `problems`).
    """
    groups = groups_of(manifest, [case for case in manifest.cases if case.split != "test"], same or {})
    match section.scheme:
        case "official":
            tests = [_own_split(manifest, groups)]
        case "leave-one-site-out":
            tests = _sites(manifest, groups)
        case _:
            tests = _dealt_tests(groups, section, seed=seed)
    folds = [_fold(groups, index, test, section=section, seed=seed) for index, test in enumerate(tests)]
    _refuse_untested(manifest, groups, folds)
    return folds


def _dealt_tests(groups: Groups, section: DataSection, *, seed: int) -> list[list[Case]]:
    """Test parts of whole groups."""
    folded, scheme = section.scheme != "hold-out", section.scheme
    shares = [1 / section.folds] * section.folds if folded else [1 - section.held_out, section.held_out]
    _refuse_too_few(groups, parts=len(shares), scheme=scheme)
    everything = np.arange(len(groups.cases))
    tests = []
    for repeat in range(section.repeats if scheme == "repeated-k-fold" else 1):
        use = ("split", scheme, repeat) if scheme == "repeated-k-fold" else ("split", scheme)
        part = _dealt(groups, everything, shares, seed=seed_for(seed, *use))
        tests += [groups.members(everything[part == number]) for number in range(0 if folded else 1, len(shares))]
    return tests


def _own_split(manifest: Manifest, groups: Groups) -> list[Case]:
    """The data set's own "val" to test on."""
    cases = groups.members()
    found = {split: sum(case.split == split for case in cases) for split in ("train", "val", None)}
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
    return [case for case in cases if case.split == "val"]


def _sites(manifest: Manifest, groups: Groups) -> list[list[Case]]:
    """The cases of each site to test on."""
    cases = groups.members()
    nameless = [case.case_id for case in cases if case.site is None]
    if nameless:
        raise ManifestError(
            f"scheme = 'leave-one-site-out' needs the site of every case; {len(nameless)} of {len(cases)} cases of "
            f"'{manifest.name}' have none, such as '{nameless[0]}'. Name their site (a table's column 'site'), or use "
            f"scheme = 'k-fold', which needs none."
        )
    sites = sorted({str(case.site) for case in cases})
    if len(sites) < 2:
        raise ManifestError(
            f"scheme = 'leave-one-site-out' needs at least 2 sites; all cases of '{manifest.name}' are of the site "
            f"'{sites[0]}'. Add cases of another site, or use scheme = 'k-fold'."
        )
    return [[case for case in cases if case.site == site] for site in sites]


def _fold(groups: Groups, index: int, test: Sequence[Case], *, section: DataSection, seed: int) -> Fold:
    """The fold of a test part: what has no group in common with it is learned from, but for a validation part."""
    tested = {case.case_id for case in test}
    is_touched = np.array([any(case.case_id in tested for case in members) for members in groups.cases])
    training = np.flatnonzero(~is_touched)
    left_out = tuple(key for key in groups.ids(np.flatnonzero(is_touched)) if key not in tested)
    if left_out:
        _log.warning("fold %d: %d cases are left out; their patient or image is in its test part", index, len(left_out))
    fit, validation = training, training[:0]
    if section.validation:
        shares = [1 - section.validation, section.validation]
        part = _dealt(groups, training, shares, seed=seed_for(seed, "validation", index))
        fit, validation = training[part == 0], training[part == 1]
    parts: dict[str, int] = {"fit": len(fit), "test": len(tested)}
    for name, size in (parts | ({"validation": len(validation)} if section.validation else {})).items():
        if not size:
            why = f"its share of {len(groups.cases)} groups of patients is less than one"
            if not len(training):
                why = "all other patients (or their very images) are in its test part too"
            raise ManifestError(
                f"The {name} part of fold {index} would be empty: {why}. Add patients, use fewer folds, or set another "
                f"share (held_out = {section.held_out}, validation = {section.validation}; validation = 0 needs no "
                "such part)."
            )
    shown = groups.counts[:, : len(groups.classes)]
    lacking = np.flatnonzero((shown[fit].sum(axis=0) == 0) & (shown.sum(axis=0) > 0))
    if len(lacking):
        names = ", ".join(f"'{groups.classes[column]}'" for column in lacking)
        of_site = f" (test: site '{test[0].site}')" if section.scheme == "leave-one-site-out" else ""
        raise ManifestError(
            f"The model of fold {index}{of_site} would never see {names}: all patients who show it fall into other "
            f"parts. Add patients with it, set a smaller validation share, or take the class out of the data set."
        )
    return Fold(index, groups.ids(fit), groups.ids(validation), tuple(sorted(tested)), left_out)


def _refuse_untested(manifest: Manifest, groups: Groups, folds: Sequence[Fold]) -> None:
    """Refuse parts of which none tests a class: nothing could be said about it."""
    tested = {key for fold in folds for key in fold.test}
    cases = [case for case in groups.members() if case.case_id in tested]
    shown, measured = groups.counts.sum(axis=0), shown_by(manifest, cases).sum(axis=0)
    lacking = [f"'{name}'" for number, name in enumerate(groups.classes) if shown[number] and not measured[number]]
    if lacking:
        raise ManifestError(
            f"No test case would show {', '.join(lacking)}, so that nothing could be said about it. Use scheme = "
            f"'k-fold', which tests every case, hold out a larger share, or take the class out of the data set."
        )


def _refuse_too_few(groups: Groups, *, parts: int, scheme: str) -> None:
    advice = "Add patients" if scheme == "hold-out" else f"Use fewer than {parts} folds, or add patients"
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


def _dealt(groups: Groups, chosen: Whole, shares: Sequence[float], *, seed: int) -> Whole:
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
