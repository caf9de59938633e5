"""How a plan parts a data set: the first way of several that was tried on its cases, and that they bear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from overread.data.manifest import Manifest
from overread.data.section import DataSection
from overread.errors import InputError, ManifestError
from overread.proposal.lines import Lines, in_comment

Trial = Callable[[DataSection], object]
"""Parts the data set as a section says; raises ManifestError where that cannot be."""

FOLDS = 5
HELD_OUT = 0.2

PATIENTS_FOR_VALIDATION = 40
"""With fewer, giving some away to choose the epoch costs more than it brings."""

RAREST_FOR_VALIDATION = 20
"""Patients of the rarest class; of fewer one or none would be in the validation part, and decide by chance."""


@dataclass(frozen=True)
class Parted:
    """A way of parting that was tried.

    Args:
        section: the settings.
        lines: the same, with reasons.
    """

    section: DataSection
    lines: Lines

    @property
    def trainings(self) -> int:
        """How many networks are trained."""
        return self.section.folds if self.section.scheme == "k-fold" else 1


def parted(manifest: Manifest, trial: Trial) -> Parted:
    """The first way that the data set bears.

    Args:
        manifest: the cases to learn from and to measure on.
        trial: tells whether they can be parted so.

    Raises:
        InputError: there is no such way, or a class that cannot be both learned and measured.
    """
    too_few = _too_few_for_validation(manifest)
    refused: list[str] = []
    for settings, lines in _ways(manifest, refused):
        for share, more in _validations(too_few, refused):
            section = DataSection.model_validate(settings | share)
            try:
                trial(section)
            except ManifestError as error:
                refused.append(str(error))
            else:
                return Parted(section, [*lines, *more])
    raise InputError(
        f"'{manifest.name}' was parted in {len(refused)} ways, and none of them leaves every class to be learned and "
        f"measured, so that there is no recipe for it. The last: {refused[-1]}"
    )


def _ways(manifest: Manifest, refused: list[str]) -> Iterator[tuple[dict[str, object], Lines]]:
    """Settings and reasons, the best ones first; `refused` says what was wrong with those before."""
    splits = {case.split for case in manifest.cases}
    name, most = "", FOLDS
    reason = "every case is measured once, by a model that never saw its patient"
    if manifest.marks_lesions:
        long = "learning to mark takes too long for folds"
        if splits == {"train", "val"}:
            yield (
                {"scheme": "official"},
                [('scheme = "official"', f"the data set has its own val split; {long}")],
            )
            long += "".join(f'; not "official": {_first_sentence(why)}' for why in refused[:1])
        yield (
            {"scheme": "hold-out", "held_out": HELD_OUT},
            [
                ('scheme = "hold-out"', long),
                (f"held_out = {HELD_OUT}", "a fifth of the patients is measured on and never learned from"),
            ],
        )
        reason += f'; not "hold-out": {_first_sentence(refused[-1])}'
    else:
        name, most = _rarest_to_measure(manifest)
        if splits == {"train", "val"}:
            reason += '; the data set\'s own train and val splits are one here ("official" keeps them apart)'
    tried = len(refused)
    for folds in range(min(FOLDS, most), 1, -1):
        why = "the usual number" if folds == FOLDS else f"fewer than {FOLDS}: "
        if folds < FOLDS:
            failed = refused[tried:]
            why += _first_sentence(failed[0]) if failed else f"{in_comment(name)} has {most} patients"
        yield {"scheme": "k-fold", "folds": folds}, [('scheme = "k-fold"', reason), (f"folds = {folds}", why)]


def _validations(too_few: str, refused: list[str]) -> Iterator[tuple[dict[str, float], Lines]]:
    """With a validation part, where there are enough to give some away, and without."""
    why = f"{too_few} too few to give some away for choosing the epoch"
    if not too_few:
        yield {}, []
        why = f"with a validation part: {_first_sentence(refused[-1])}"
    yield {"validation": 0.0}, [("validation = 0.0", why)]


def _first_sentence(error: str) -> str:
    """What was wrong, without what to do about it; fit for a comment."""
    return in_comment(error.splitlines()[0].split(". ")[0].rstrip(":."))


def _rarest_to_measure(manifest: Manifest) -> tuple[str, int]:
    name, rarest = _rarest_class(manifest)
    if rarest < 2:
        raise InputError(
            f"Class '{name}' has {rarest} patient; to learn it and to measure it takes at least 2. Check that its "
            "name is not misspelt, merge it with another, or add cases. See: overread inspect DATA"
        )
    return name, rarest


def _too_few_for_validation(manifest: Manifest) -> str:
    """Who is too few for a validation part, in words; empty where there are enough."""
    patients = len({case.patient_id for case in manifest.cases})
    if patients < PATIENTS_FOR_VALIDATION:
        return f"{patients} patients are"
    if manifest.marks_lesions:
        return ""
    name, rarest = _rarest_class(manifest)
    return f"{rarest} patients of {in_comment(name)} are" if rarest < RAREST_FOR_VALIDATION else ""


def _rarest_class(manifest: Manifest) -> tuple[str, int]:
    """The class that the fewest patients have (of several labels also: lack), and how many; those of nobody apart."""
    patients: dict[str, set[str]] = {name: set() for name in manifest.classes}
    for case in manifest.cases:
        for name, present in case.labels.items():
            if present:
                patients[name].add(case.patient_id)
            elif present is False and manifest.task == "multi-label":
                patients.setdefault(f"not {name}", set()).add(case.patient_id)
    patients = {name: who for name, who in patients.items() if who}
    if not patients:
        raise InputError(f"No case of '{manifest.name}' has a label that is known. Label some.")
    name = min(patients, key=lambda name: (len(patients[name]), name))
    return name, len(patients[name])
