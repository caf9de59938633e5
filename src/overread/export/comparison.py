"""What a comparison of runs says, before it has a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from overread.data.manifest import Task
from overread.evaluation.comparison import Difference, Key
from overread.evaluation.estimate import Estimate


@dataclass(frozen=True)
class ComparedRun:
    """One run, measured on the cases that all runs answered.

    Args:
        name: how to call it.
        bundle: the id of its model.
        scheme: how it was measured, in words.
        warnings: what its own report warns of.
        n_answered: how many images it answered, those included that another run did not.
        estimates: its numbers.
        n_networks: how many networks answer together; None where it was not kept, as all below.
        n_parameters: of one network.
        weights_bytes: of all networks.
        training_seconds: of all networks.
    """

    name: str
    bundle: str | None
    scheme: str
    warnings: Sequence[str]
    n_answered: int
    estimates: Mapping[Key, Estimate]
    n_networks: int | None = None
    n_parameters: int | None = None
    weights_bytes: int | None = None
    training_seconds: float | None = None


@dataclass(frozen=True)
class Rival:
    """A run that is held against the reference.

    Args:
        run: its numbers.
        differences: its numbers minus those of the reference.
    """

    run: ComparedRun
    differences: Sequence[Difference]


@dataclass(frozen=True)
class Comparison:
    """Two or more runs side by side.

    Args:
        created: when, as ISO 8601.
        unit: what a case is called: an "image", or a "row" of measurements.
        data: the name of the data set.
        task: what the answers are about.
        classes: all that the models know.
        fingerprint: of the truth of the common cases.
        simulated: whether the images are simulated.
        names_patients: whether the data set says who the patients are.
        n_cases: how many images all runs answered.
        n_patients: of how many patients.
        n_groups: how many that are where those who share a picture count as one, as in every interval.
        left_out: how many images not all runs answered.
        level: of the intervals.
        draws: bootstrap draws over patients.
        seed: of the draws.
        reference: the run that the others are held against.
        rivals: the others.
        warnings: what must be seen before any number.
    """

    created: str
    unit: Literal["image", "row"]
    data: str
    task: Task
    classes: tuple[str, ...]
    fingerprint: str
    simulated: bool
    names_patients: bool
    n_cases: int
    n_patients: int
    n_groups: int
    left_out: int
    level: float
    draws: int
    seed: int
    reference: ComparedRun
    rivals: Sequence[Rival]
    warnings: Sequence[str]

    @property
    def marks_lesions(self) -> bool:
        """Whether the answers are marks and not labels of whole images."""
        return self.task in ("boxes", "masks")

    @property
    def n_tests(self) -> int:
        """For how many tests the p were corrected."""
        return sum(row.p_holm is not None for rival in self.rivals for row in rival.differences)
