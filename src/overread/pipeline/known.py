"""What a trained model knows already of the cases that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass

from overread.bundle import Bundle
from overread.data.leaks import NearPairs, between_splits, near_pairs, refuse
from overread.data.manifest import Manifest, Split
from overread.data.prepared import PreparedImages
from overread.errors import DataLeak
from overread.export.wording import first_names
from overread.pipeline.parting import near_words


@dataclass(frozen=True)
class Known:
    """What of some cases a model learned from, as far as can be known.

    Args:
        manifest: the cases.
        seen: ids of those whose images it learned from.
        of_patients: ids of others, of patients whose other images it learned from.
        near: pairs of which it learned from one, while the other is among these cases.
        alike: pairs that are both among these cases.
    """

    manifest: Manifest
    seen: tuple[str, ...]
    of_patients: tuple[str, ...]
    near: NearPairs
    alike: NearPairs

    @property
    def warnings(self) -> list[str]:
        """What must be read before any number."""
        of_all, unit, said = f"of {len(self.manifest.cases)}", self.manifest.unit, []
        if self.seen:
            said.append(
                f"{len(self.seen)} {of_all} {unit}s were seen in training: these numbers flatter the model. For its "
                "performance look at the evaluation of the training run, or name a split that was held out (--split)."
            )
        if self.of_patients:
            said.append(
                f"{len(self.of_patients)} {of_all} {unit}s ({first_names(self.of_patients)}) are of patients of whom "
                f"the model learned from other {unit}s: these numbers are too good."
            )
        if self.near:
            said.append(near_words(self.near))
        return said


def known_to(bundle: Bundle, manifest: Manifest, whole: Manifest, images: PreparedImages) -> Known:
    """Find what a model learned from: images by their pixels, patients by their ids where both data sets name them.

    Near copies are found of what it learned from and is in the data set too: a bundle keeps no pictures.

    Args:
        bundle: the model.
        manifest: the cases that it is measured on.
        whole: the data set with all of its splits.
        images: where their pixels are known from.
    """
    same, known = images.digests(whole), set(bundle.seen)
    learned = {key for key, digest in same.items() if digest in known}
    fresh = [case for case in manifest.cases if case.case_id not in learned]
    tested = {case.case_id for case in fresh}
    pairs, asked = near_pairs(whole, images.facts, same), {case.case_id for case in manifest.cases}
    of_patients = [case.case_id for case in fresh if bundle.knows_patient(case.patient_id)]
    return Known(
        manifest,
        seen=tuple(case.case_id for case in manifest.cases if case.case_id in learned),
        of_patients=tuple(of_patients) if manifest.names_patients else (),
        near=[pair for pair in pairs if tested & {*pair} and learned & {*pair}],
        alike=[pair for pair in pairs if asked >= {*pair}],
    )


def stop_at_known_patients(bundle: Bundle, known: Known, whole: Manifest, split: Split) -> None:
    """Refuse a split that is to be new to a model, and holds patients whom it knows.

    Args:
        bundle: the model.
        known: what it knows of the split.
        whole: the data set with all of its splits.
        split: which of them.

    Raises:
        DataLeak: at patients whom it learned from; of a model that cannot tell, at patients in two splits.
    """
    if not bundle.patients:
        advice = f"A model that learned from another split may know patients of '{split}'. Correct the splits."
        refuse(whole, between_splits(whole, {}), advice=advice)
    if known.of_patients:
        unit = whole.unit
        raise DataLeak(
            f"{len(known.of_patients)} of {len(known.manifest.cases)} {unit}s in the split '{split}' of '{whole.name}' "
            f"({first_names(known.of_patients)}) are of patients of whom the model learned from other {unit}s, which "
            "would make every number too good. Take them out of the split, or train again: a training sets aside who "
            "is in 'test'. If they are other people with the same ids, give them ids of their own."
        )
