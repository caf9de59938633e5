"""A recipe to begin with: what a data set and this machine are like decides, and every choice says why."""

from __future__ import annotations

import re
from collections.abc import Mapping

from overread.data.manifest import Manifest
from overread.errors import InputError
from overread.machine import Machine
from overread.proposal.labels import for_labels, for_sequences
from overread.proposal.look import Look
from overread.proposal.marks import for_marks
from overread.proposal.parts import Lines, in_comment
from overread.proposal.rows import for_rows
from overread.proposal.volumes import for_volumes


def propose(manifest: Manifest, machine: Machine | None = None) -> str:
    """A sensible recipe for a data set, as TOML with a comment behind each choice.

    Args:
        manifest: the data set; its official test split is not looked at.
        machine: what it will be trained on; None takes this one.

    Raises:
        InputError: no image can be read, there is no case to learn from, or marks were made in volumes.
    """
    machine = machine or Machine.this_one()
    manifest = manifest.with_cases(tuple(case for case in manifest.cases if case.split != "test"))
    if not manifest.cases:
        raise InputError(f"'{manifest.name}' has no case to learn from outside its test split.")
    if manifest.measurements:
        family, sections = for_rows(manifest, machine)
        return _written(manifest, machine, family, f"{len(manifest.measurements)} measurements", sections)
    look = Look.at(manifest.cases)
    size = look.size
    if look.slices:
        family, sections = for_volumes(look, manifest, machine)
    elif manifest.marks_lesions:
        family, sections = for_marks(look, manifest, machine)
    elif any(len(case.images) > 1 for case in manifest.cases):
        family, sections = for_sequences(look, manifest, machine)
        size += " in sequences"
    else:
        family, sections = for_labels(look, manifest, machine)
    return _written(manifest, machine, family, size, sections)


def _written(
    manifest: Manifest,
    machine: Machine,
    family: str,
    size: str,
    sections: Mapping[str, Lines],
) -> str:
    patients = len({case.patient_id for case in manifest.cases})
    of = "cases" if family == "lstm" else f"{manifest.unit}s"
    lines = [
        f"# Proposed for {in_comment(manifest.name)}: {manifest.task}, {len(manifest.cases)} {of} of {patients} "
        f"patients, {size};",
        f"# to be trained on {in_comment(str(machine))}.",
        "# A beginning, made by simple rules; see what every setting is: overread recipe show THIS-FILE",
        f'name = "{_slug(manifest.name)}-{family}"',
    ]
    for section, told in sections.items():
        lines += ["", f"[{section}]", *(f"{line}  # {why}" if why else line for line, why in told)]
    return "\n".join(lines) + "\n"


def _slug(name: str) -> str:
    """A name fit for a recipe and a folder."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"
