"""A recipe to begin with: what a data set and this machine are like decides, and every choice says why."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from overread.data.manifest import ImageRef, Manifest
from overread.data.problems import ImageFacts, facts_of
from overread.errors import InputError
from overread.machine import Machine
from overread.proposal.labels import for_labels, for_sequences
from overread.proposal.lines import Lines, in_comment
from overread.proposal.look import Look
from overread.proposal.marks import for_marks
from overread.proposal.parting import Trial, parted
from overread.proposal.rows import for_rows
from overread.proposal.volumes import for_volumes


def propose(
    manifest: Manifest,
    machine: Machine | None = None,
    *,
    facts: Callable[[ImageRef], ImageFacts] = facts_of,
    trial: Trial | None = None,
) -> str:
    """A sensible recipe for a data set, as TOML with a comment behind each choice.

    Args:
        manifest: the data set; its official test split is not looked at.
        machine: what it will be trained on; None takes this one.
        facts: how to know an image; by default it is read. Raises UnreadableImage for one that cannot be.
        trial: parts the data set as a section says, and refuses what cannot be; None parts it by patient, without a
            look for copies.

    Raises:
        InputError: no image can be read, there is no case to learn from, no way to part the cases, or marks were made
            in volumes.
    """
    from overread.data.split import folds_of  # asks for scipy, and a reading comes by here

    machine = machine or Machine.this_one()
    whole = manifest
    manifest = manifest.with_cases(tuple(case for case in manifest.cases if case.split != "test"))
    if not manifest.cases:
        raise InputError(f"'{manifest.name}' has no case to learn from outside its test split.")
    way = parted(manifest, trial or (lambda section: folds_of(whole, section, seed=0)))
    if manifest.measurements:
        family, sections = for_rows(manifest, machine, way)
        return _written(manifest, machine, family, f"{len(manifest.measurements)} measurements", sections)
    look = Look.at(manifest.cases, facts)
    size = look.size
    if look.slices:
        family, sections = for_volumes(look, manifest, machine, way)
    elif manifest.marks_lesions:
        family, sections = for_marks(look, manifest, machine, way)
    elif any(len(case.images) > 1 for case in manifest.cases):
        family, sections = for_sequences(look, manifest, machine, way)
        size += " in sequences"
    else:
        family, sections = for_labels(look, manifest, machine, way)
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
