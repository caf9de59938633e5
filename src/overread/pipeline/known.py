"""What a trained model knows already of the cases that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass

from overread.bundle import Bundle
from overread.data.leaks import between_splits, refuse
from overread.data.manifest import Manifest, Split
from overread.data.prepared import PreparedImages
from overread.errors import DataLeak
from overread.export.wording import first_names


@dataclass(frozen=True)
class Known:
    """What of some cases a model learned from, as far as can be known.

    Args:
        manifest: the cases.
        seen: ids of those whose images it learned from.
        of_patients: ids of others, of patients whose other images it learned from.
    """

    manifest: Manifest
    seen: tuple[str, ...]
    of_patients: tuple[str, ...]

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
        return said


def known_to(bundle: Bundle, manifest: Manifest, images: PreparedImages) -> Known:
    """Find what a model learned from: images by their pixels, patients by their ids where both data sets name them.

    Args:
        bundle: the model.
        manifest: the cases that it is measured on.
        images: where their pixels are known from.
    """
    learned = set(bundle.seen)
    seen = {key for key, digest in images.digests(manifest).items() if digest in learned}
    of_patients = [
        case.case_id
        for case in manifest.cases
        if manifest.names_patients and case.case_id not in seen and bundle.knows_patient(case.patient_id)
    ]
    return Known(manifest, tuple(sorted(seen)), tuple(of_patients))


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
