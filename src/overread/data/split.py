"""Which cases a model is fitted on, which choose its epoch and which test it, with no patient in two of these parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from overread.data.dealing import dealt
from overread.data.fold import Fold
from overread.data.groups import Groups, columns_of, groups_of, shown_by
from overread.data.leaks import NearPairs, between_splits, refuse
from overread.data.manifest import Case, Manifest
from overread.data.section import DataSection
from overread.errors import ManifestError
from overread.provenance import seed_for

_log = logging.getLogger(__name__)


def folds_of(
    manifest: Manifest,
    section: DataSection,
    *,
    seed: int,
    same: Mapping[str, str] | None = None,
    near: NearPairs = (),
    accept_leaks: bool = False,
) -> list[Fold]:
    """Part a data set so that every number that is reported comes from patients the model never saw.

    Parts are made of whole groups (see `Groups`) and hold each class in nearly the same share. How nearly depends on
    the groups: with `m` cases of a class in its largest group, `n` in all, and `k` parts of which one shall hold the
    share `s`, that part gets no more than `s * n + (1 - 1 / k) * m` of them where each case and each group shows one
    class; in every case the squared errors of the shares, summed over parts and classes (and over the cases that
    show no class, and all cases), are at most `(1 - sum(s ** 2)) * sum(m / n)`. This holds for each repeat, and for
    all test parts but those that the data set itself makes: its own splits, and its sites.

    Args:
        manifest: the data set; its official "test" cases are never part of anything, nor is what is of the same
            patient or shows the same pixels, except that "official" takes the splits as they are.
        section: scheme and shares.
        seed: of the recipe; the same seed gives the same folds, whatever the order of the cases.
        same: case id -> digest of its pixels, for the cases where it is known; cases with equal digests stay
            together like those of one patient.
        near: case ids of near copies that stay together too (see `groups.near_ties`); "official" leaves them.
        accept_leaks: for "official", take splits that share patients or identical images.

    Returns:
        One fold for "hold-out" and "official", `folds` for "k-fold" and "nested-k-fold" (the same for both), `repeats`
        times `folds` for "repeated-k-fold",
        one a site, in the order of their names, for "leave-one-site-out".

    Raises:
        ManifestError: where the data set has no such parts, or a part would be empty or lack a class to learn, to
            choose by or to measure. A class that no case at all shows is none of this function's business (see
            `problems`).
        DataLeak: where "official" splits share patients or identical images, and that is not accepted.
    """
    aside: tuple[str, ...] = ()
    if section.scheme == "official":
        train, val = _own_splits(manifest)
        if not accept_leaks:
            refuse(manifest, between_splits(manifest, same or {}), advice=_INSTEAD)
        groups, tests = groups_of(manifest, train, same or {}), [val]
    else:
        groups, aside = _apart_from_test(manifest, same or {}, near)
        by_site = section.scheme == "leave-one-site-out"
        tests = _sites(manifest, groups) if by_site else _dealt_tests(groups, section, seed)
    folds = [_fold(manifest, groups, index, test, section, seed=seed) for index, test in enumerate(tests)]
    _refuse_untested(manifest, folds)
    return [replace(fold, left_out=tuple(sorted((*fold.left_out, *aside)))) for fold in folds]


def inner_folds_of(
    manifest: Manifest,
    fold: Fold,
    section: DataSection,
    *,
    seed: int,
    same: Mapping[str, str] | None = None,
    near: NearPairs = (),
) -> list[Fold]:
    """Part the training part of a fold again, by the same rule, to choose settings without a look at its test part.

    Args:
        manifest: the data set.
        fold: of "nested-k-fold".
        section: in how many parts, and their shares.
        seed: of the recipe.
        same: as for `folds_of`.
        near: as for `folds_of`.

    Raises:
        ManifestError: where it cannot be parted so.
    """
    training = {*fold.fit, *fold.validation}
    inner = manifest.with_cases(tuple(case for case in manifest.cases if case.case_id in training))
    inside = section.model_copy(update={"scheme": "k-fold", "folds": section.inner_folds})
    try:
        return folds_of(inner, inside, seed=seed_for(seed, "inner", fold.index), same=same, near=near)
    except ManifestError as error:
        raise ManifestError(
            f"The training part of fold {fold.index} cannot be parted again (data.inner_folds = "
            f"{section.inner_folds}). {error}"
        ) from error


_INSTEAD = (
    "Use scheme = 'k-fold', which deals 'train' and 'val' out anew by patient, or give --accept-leaks to use these "
    "splits as they are: the report then says on its first page that they leak."
)


def _apart_from_test(manifest: Manifest, same: Mapping[str, str], near: NearPairs) -> tuple[Groups, tuple[str, ...]]:
    """The groups that have nothing to do with the official test split, and the other cases outside of it."""
    groups = groups_of(manifest, manifest.cases, same, near)
    is_test = np.array([any(case.split == "test" for case in members) for members in groups.cases])
    if is_test.all():
        raise ManifestError(
            f"'{manifest.name}' has no case to learn from: all are in the official split 'test', or their patient or "
            "image is. Add cases of other patients."
        )
    touched = groups.members(np.flatnonzero(is_test))
    aside = tuple(sorted(case.case_id for case in touched if case.split != "test"))
    own = shown_by(manifest, [case for case in manifest.cases if case.split != "test"]).sum(axis=0)
    left = groups.counts[~is_test].sum(axis=0)
    lost = [f"'{name}'" for number, name in enumerate(groups.columns) if own[number] and not left[number]]
    if lost:
        raise ManifestError(
            f"Nothing is left to learn {', '.join(lost)} from: every case of it outside the official split 'test' is "
            f"of a patient in that split, or shows an image (or nearly one) that is in it. Correct the patients or "
            f"the splits, add cases of other patients, or take the class out of the data set."
        )
    if aside:
        _log.warning("%d cases are left out: their patient or image is in the official test split", len(aside))
    return groups.only(np.flatnonzero(~is_test)), aside


def _dealt_tests(groups: Groups, section: DataSection, seed: int) -> list[list[Case]]:
    """Test parts of whole groups."""
    folded = section.scheme != "hold-out"
    scheme = "k-fold" if section.scheme == "nested-k-fold" else section.scheme  # the same parts, to be compared
    shares = [1 / section.folds] * section.folds if folded else [1 - section.held_out, section.held_out]
    _refuse_too_few(groups, parts=len(shares), scheme=scheme)
    everything = np.arange(len(groups.cases))
    tests = []
    for repeat in range(section.repeats if scheme == "repeated-k-fold" else 1):
        use = ("split", scheme, repeat) if scheme == "repeated-k-fold" else ("split", scheme)
        part = dealt(groups, everything, shares, seed=seed_for(seed, *use))
        tests += [groups.members(everything[part == number]) for number in range(0 if folded else 1, len(shares))]
    return tests


def _own_splits(manifest: Manifest) -> tuple[list[Case], list[Case]]:
    """The data set's own "train" to learn from and "val" to test on."""
    splits = {split: [case for case in manifest.cases if case.split == split] for split in ("train", "val", None)}
    if not splits["train"] or not splits["val"]:
        raise ManifestError(
            f"scheme = 'official' needs cases in the data set's own splits 'train' and 'val'; '{manifest.name}' has "
            f"{len(splits['train'])} and {len(splits['val'])}. Use scheme = 'k-fold' or 'hold-out'."
        )
    if splits[None]:
        raise ManifestError(
            f"scheme = 'official' needs the split of every case; {len(splits[None])} cases of '{manifest.name}' have "
            f"none. Name their split, or use scheme = 'k-fold', which needs none."
        )
    return splits["train"], splits["val"]


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


def _fold(
    manifest: Manifest, groups: Groups, index: int, test: Sequence[Case], section: DataSection, *, seed: int
) -> Fold:
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
        part = dealt(groups, training, shares, seed=seed_for(seed, "validation", index))
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
    fitted, shown = groups.counts[fit].sum(axis=0), groups.counts.sum(axis=0) + shown_by(manifest, test).sum(axis=0)
    lacking = [f"'{name}'" for number, name in enumerate(groups.columns) if shown[number] and not fitted[number]]
    if lacking:
        of_site = f" (test: site '{test[0].site}')" if section.scheme == "leave-one-site-out" else ""
        raise ManifestError(
            f"The model of fold {index}{of_site} would never see {', '.join(lacking)}: all patients who show it fall "
            f"into other parts. Add patients with it, set a smaller validation share, or take the class out of the "
            f"data set."
        )
    choosing, taught = (groups.counts[part].sum(axis=0) for part in (validation, training))
    unseen = [f"'{name}'" for number, name in enumerate(groups.columns) if taught[number] and not choosing[number]]
    # of marks, the mean over the classes that are there still ranks epochs, and images may well show none of a class
    if section.validation and unseen and not manifest.marks_lesions:
        raise ManifestError(
            f"The validation part of fold {index} would not show {', '.join(unseen)}, so that the epoch would be "
            f"chosen without it: too few patients show it for a share of {section.validation:g}. Set data.validation "
            '= 0.0 with training.keep = "last", or a larger share; use fewer folds, add patients with it, or join it '
            "with another class."
        )
    return Fold(index, groups.ids(fit), groups.ids(validation), tuple(sorted(tested)), left_out)


def _refuse_untested(manifest: Manifest, folds: Sequence[Fold]) -> None:
    """Refuse parts of which none tests a class: nothing could be said about it."""
    tested = {key for fold in folds for key in fold.test}
    used = tested.union(*((*fold.fit, *fold.validation) for fold in folds))
    counts = [
        shown_by(manifest, [case for case in manifest.cases if case.case_id in keys]).sum(axis=0)
        for keys in (used, tested)
    ]
    lacking = [
        f"'{name}'"
        for name, shown, measured in zip(columns_of(manifest), *counts, strict=False)
        if shown > measured == 0
    ]
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
    shown_by = (groups.counts[:, : len(groups.columns)] > 0).sum(axis=0)
    rare = [f"'{name}' ({n})" for name, n in zip(groups.columns, shown_by.tolist(), strict=True) if 0 < n < parts]
    if rare:
        raise ManifestError(
            f"scheme = '{scheme}' needs every class in at least {parts} patients (those who share an identical image "
            f"count as one); found fewer for {', '.join(rare)}. {advice} with these classes, or take them out of the "
            f"data set."
        )
