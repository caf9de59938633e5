"""Who learns and who tests in a training, and what a reader must know about how well the two are parted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from overread.data.fold import Fold
from overread.data.groups import near_ties, tied_patients
from overread.data.leaks import EXACT, NearPairs, across_folds, between_splits, exact, near_pairs, tied
from overread.data.manifest import Manifest, Problem
from overread.data.prepared import PreparedImages
from overread.data.section import DataSection
from overread.data.split import folds_of, inner_folds_of
from overread.errors import ManifestError
from overread.export.wording import first_names


@dataclass(frozen=True)
class Parting:
    """The folds of a training, and what they do not part.

    Args:
        folds: who learns, who chooses, who tests.
        leaks: what the data set's own splits share.
        accepted: what of it the numbers rest on, because it was accepted; for the first page and the bundle.
        near: what else must be read before any number.
        kept_together: what was repaired, in a sentence; empty where nothing was.
        inner: index of a fold -> the parts of its training part, for "nested-k-fold".
        groups: case id -> the patient as whom it counts in intervals: one for all who share a picture, also where
            folds do not keep them on one side.
    """

    folds: Sequence[Fold]
    leaks: Sequence[Problem] = ()
    accepted: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    kept_together: str = ""
    inner: Mapping[int, Sequence[Fold]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alike:
    """Which cases show the same picture or nearly so, looked for once.

    Args:
        manifest: the cases that training may see, and those of the official test split.
        same: case id -> digest of its pixels.
        near: ids of near copies.
        ties: those of them that can be kept on one side.
    """

    manifest: Manifest
    same: Mapping[str, str]
    near: NearPairs
    ties: NearPairs

    @classmethod
    def of(cls, manifest: Manifest, whole: Manifest, images: PreparedImages) -> Alike:
        """Look for them.

        Args:
            manifest: the cases that training may see.
            whole: the data set with its official test split, with which these must have nothing in common.
            images: where their pixels are known from.
        """
        test = whole.subset(("test",)).cases
        manifest = manifest.with_cases(tuple(sorted((*manifest.cases, *test), key=lambda case: case.case_id)))
        same = images.digests(manifest)
        near = near_pairs(manifest, images.facts, same)
        return cls(manifest, same, near, near_ties(manifest.cases, same, near))


def part(section: DataSection, found: Alike, *, seed: int, accept_leaks: bool) -> Parting:
    """Part a data set, and look for what is on both sides all the same.

    Args:
        section: the scheme.
        found: the cases, and what they share.
        seed: of the recipe.
        accept_leaks: take official splits that share patients or identical images.

    Raises:
        DataLeak: splits that share them, where that is not accepted.
        ManifestError: a data set that cannot be parted so.
    """
    manifest, same, near, alike = found.manifest, found.same, found.near, found.ties
    ties, loose = _ties(section, near, alike)

    def parted(ties: NearPairs) -> tuple[list[Fold], dict[int, list[Fold]]]:
        folds = folds_of(manifest, section, seed=seed, same=same, near=ties, accept_leaks=accept_leaks)
        if section.scheme != "nested-k-fold":
            return folds, {}
        return folds, {
            fold.index: inner_folds_of(manifest, fold, section, seed=seed, same=same, near=ties) for fold in folds
        }

    try:
        folds, inner = parted(ties)
    except ManifestError:
        if not ties:
            raise
        (folds, inner), ties, loose = parted(()), (), (*loose, _IMPOSSIBLE)
    leaks = between_splits(manifest, same, near)
    return Parting(
        folds,
        leaks,
        accepted=_accepted(exact(leaks)) if section.scheme == "official" else (),
        near=(*loose, *_near(manifest, folds, near)),
        kept_together="" if section.scheme == "official" and exact(leaks) else _kept_together(manifest, same, ties),
        inner=inner,
        groups=tied_patients(manifest.cases, same, alike),
    )


def shared(manifest: Manifest, images: PreparedImages) -> list[Problem]:
    """What the data set's own splits share, as warnings."""
    if len({case.split for case in manifest.cases}) < 2:
        return []
    same = images.digests(manifest)
    return between_splits(manifest, same, near_pairs(manifest, images.facts, same))


def scheme_of(section: DataSection, folds: Sequence[Fold], manifest: Manifest, *, averaged: bool = True) -> str:
    """How the data were parted, in a sentence or two.

    Args:
        section: which scheme it was.
        folds: that it gave.
        manifest: the cases.
        averaged: whether the networks of all folds answer together afterwards (`inference.average_folds`).
    """
    single = f"single {manifest.unit}s, as the data set names no patients"
    parted = "whole patients" if manifest.names_patients else single
    same = "picture" if manifest.unit == "image" else "row"
    if manifest.unit == "image" and section.scheme != "official" and section.near_copies == "together":
        same = "picture (or nearly the same)"
    tested = sum(len(fold.test) for fold in folds)
    bundle = f"The bundle averages these {len(folds)} networks and was not measured as a whole."
    if not averaged:
        bundle = f"Of these {len(folds)} networks the bundle asks that of the first fold alone."
    counted = "A mark counts from the mean of the scores that its folds chose. " if manifest.marks_lesions else ""
    match section.scheme:
        case "k-fold":
            said = (
                f"Cross-validation with {len(folds)} folds of {parted}: every case was judged by a model that did not "
                f"learn from its fold. The scores of all folds are ranked together. {bundle}"
            )
        case "nested-k-fold":
            said = (
                f"Nested cross-validation with {len(folds)} folds of {parted}: every case was judged by a model that "
                "did not learn from its fold, and whose settings were chosen without it, in "
                f"{section.inner_folds}-fold cross-validation inside the training part. The scores of all folds are "
                f"ranked together. {bundle}"
            )
        case "repeated-k-fold":
            said = (
                f"Cross-validation with {section.folds} folds of {parted}, {section.repeats} times with other folds: "
                f"every case was judged by {section.repeats} models that did not learn from its fold. Their answers to "
                "a case were averaged before anything was measured, so that every case counts once; a single model "
                f"can do worse. The scores of all folds are ranked together. {counted}{bundle}"
            )
        case "leave-one-site-out":
            site_of = {case.case_id: case.site for case in manifest.cases}
            sites = ", ".join(f"{site_of[fold.test[0]]} ({len(fold.test)} cases)" for fold in folds)
            said = (
                f"Each of {len(folds)} sites was judged by a model that learned from the others only, in this order: "
                f"{sites}. The scores of all sites are ranked together. {bundle}"
            )
        case "hold-out":
            said = f"{tested} of {len(manifest.cases)} cases were held out ({parted}), and the model never saw them."
        case "official":
            said = "Measured on the data set's own validation split, which the model never saw."
    tested_ones = {key for fold in folds for key in fold.test}
    aside = {key for fold in folds for key in fold.left_out} - tested_ones
    if aside:
        said += f" {len(aside)} cases were set aside: their patient or their {same} is in the official test split too."
    left_out = {fold.index: len(own) for fold in folds if (own := set(fold.left_out) - aside)}
    if left_out:
        parts = ", ".join(f"{count} of fold {index}" for index, count in left_out.items())
        said += f" Left out of the training, because their patient or their {same} is in the test part too: {parts}."
    return said


def _accepted(leaks: Sequence[Problem]) -> tuple[str, ...]:
    return tuple(
        f"LEAK ACCEPTED: {len(leak.where)} cases {EXACT[leak.name]} of the data set ({first_names(leak.where)}). "
        "The numbers are too good."
        for leak in leaks
    )


_IMPOSSIBLE = (
    "Images that show nearly the same picture were not kept on one side: too few groups of patients would be left to "
    "part."
)


def _ties(section: DataSection, near: NearPairs, ties: NearPairs) -> tuple[NearPairs, tuple[str, ...]]:
    """The near copies to keep on one side, of those that can be tied, and what must be said of others."""
    if section.near_copies == "apart" or section.scheme == "official":
        return (), ()
    loose = {key for pair in near for key in pair} - {key for pair in ties for key in pair}
    if not loose:
        return ties, ()
    return ties, (
        f"{len(loose)} images that show nearly the same picture as another ({first_names(sorted(loose))}) were not "
        "kept on one side: with their patients they would be one group of more than a tenth of all images.",
    )


def _near(manifest: Manifest, folds: Sequence[Fold], near: NearPairs) -> tuple[str, ...]:
    """Nearly equal images on both sides: of the folds, and of the official test split."""
    said = []
    if across := across_folds(folds, near):
        said.append(near_words(across))
    in_test = {case.case_id for case in manifest.cases if case.split == "test"}
    learned = {key for fold in folds for key in (*fold.fit, *fold.validation)}
    if later := [pair for pair in near if in_test & {*pair} and learned & {*pair}]:
        said.append(
            f"{_pairs(later)} show nearly the same picture, and of each pair one was learned from and the other is in "
            "the official test split. If they are of one patient, or copies, numbers on that split will be too good."
        )
    return tuple(said)


def near_words(pairs: NearPairs) -> str:
    """What must be said of near copies of which one was learned from and the other tested."""
    return (
        f"{_pairs(pairs)} show nearly the same picture, and of each pair one was learned from and the other tested. If "
        "they are of one patient, or copies, these numbers are too good."
    )


def _pairs(pairs: NearPairs) -> str:
    named = first_names([f"{one} and {other}" for one, other in pairs])
    return f"{len(pairs)} pair{'s' * (len(pairs) != 1)} of images ({named})"


def _kept_together(manifest: Manifest, same: Mapping[str, str], ties: NearPairs) -> str:
    counts = tied([case for case in manifest.cases if case.split != "test"], same, ties)
    what = "pixels" if manifest.unit == "image" else "measurements"
    whys = ("of patients with several", f"that share all {what} with another's", "that show nearly another's picture")
    parts = [f"{count} cases {why}" for count, why in zip(counts, whys, strict=True) if count]
    return f"Kept on one side: {' and '.join(parts)}." if parts else ""
