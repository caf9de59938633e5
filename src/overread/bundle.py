"""Bundle: a trained model with all that is needed to use it again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from overread.data.extent import Extent
from overread.data.manifest import Task
from overread.data.prepared import IMAGES_A_CASE
from overread.errors import BundleError, InputError
from overread.image import Axes
from overread.preprocessing.section import AnyStep
from overread.preprocessing.step import Step, settings_of
from overread.provenance import digest_of
from overread.recipe import Recipe
from overread.training.computing import Computing

if TYPE_CHECKING:
    pass

CONTENTS: Final = "bundle.json"
FOLDER: Final = "bundle"
"""The name of the bundle's folder in the folder of a run."""

DENOISERS: Final = "denoisers"
"""The folder in a bundle that holds the bundles of the denoisers that its steps ask, each under its bundle_id."""

_FORBID: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The settings that a search chose inside the training part of a fold.

    Args:
        settings: dotted setting -> value; all others are those of the recipe.
        score: mean of the inner scores, higher is better.
        inner_scores: of each inner fold, on what it did not learn from; None where not defined.
        n_trials: how many settings were tried.
        n_failed: of how many of them training left the numbers.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    settings: dict[str, Any]
    score: float
    inner_scores: tuple[float | None, ...]
    n_trials: int
    n_failed: int = 0


@dataclass(frozen=True, kw_only=True)
class FoldRecord:
    """The model of one fold.

    Args:
        index: its number, from 0.
        steps: the preprocessing with the numbers that were fitted on this fold's training part.
        epoch: the epoch whose weights were kept, from 0.
        n_fit: cases it was fitted on.
        n_validation: cases that chose the epoch.
        n_test: cases it was measured on.
        n_parameters: numbers that its network consists of, frozen ones included; None in old bundles.
        training_seconds: that its epochs took, and the search before, on whatever machine it was; None in old bundles.
        chosen: what a search chose for it; None where nothing was searched.
        weights_file: its safetensors file in the bundle; None until saved.
        sha256: of that file; None until saved.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    index: int
    steps: tuple[AnyStep, ...]
    epoch: int
    n_fit: int
    n_validation: int
    n_test: int
    n_parameters: int | None = None
    training_seconds: float | None = None
    chosen: Chosen | None = None
    weights_file: str | None = None
    sha256: str | None = None


def _each_once(classes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(classes)) < len(classes):
        raise ValueError(f"every class has a name of its own; found {list(classes)}")
    return classes


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A trained model with its contract: one network a fold, what goes into it and how good it was found to be.

    Args:
        name: of the run.
        recipe: by which it was made.
        task: what it was taught, as in the manifest.
        classes: the classes, in the order of its scores.
        channels: that its networks take, 1 or 3; of tables the number of measurements.
        axes: of the images that they take: 2 flat, 3 volumes and sequences, 0 tables of measurements.
        measurements: the names of the measurements, for tables.
        manifest_fingerprint: of the data set it learned from.
        source: the name of the source that read that data set.
        simulated: whether it learned from simulated images; said wherever it is used.
        folds: one record a network, in order.
        threshold: a mark is counted from this score on, in [0, 1].
        seen: digests of all images that it learned from, to notice when it is shown one of them again.
        patients: digests of all patients that it learned from (see `patient_digest`), to notice when it is measured on
            one of them; empty where its data set named none, and in old bundles.
        evaluation: how good it was found to be, as JSON of `Estimate`s.
        intended_use: what it is for and what not, in words.
        environment: the software it was made with.
        computed: how it was trained and measured; it is asked in the same way.
        created: when, in ISO 8601.
        image_facts: what the images it learned from have in common (modality, sizes ...).
        extent: how large these were, prepared; None for tables, and in old bundles.
        accepted_leaks: what its training and test parts shared, where that was accepted; said with every number.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    name: str
    recipe: Recipe
    task: Task
    classes: Annotated[tuple[str, ...], AfterValidator(_each_once)]
    channels: Annotated[int, Field(ge=1)]
    axes: Axes = 2
    measurements: tuple[str, ...] = ()
    manifest_fingerprint: str
    source: str
    simulated: bool
    folds: tuple[FoldRecord, ...]
    threshold: Annotated[float, Field(ge=0, le=1)]
    seen: tuple[str, ...]
    evaluation: tuple[dict[str, Any], ...]
    intended_use: str
    environment: dict[str, str]
    computed: Computing
    created: str
    image_facts: dict[str, Any]
    extent: Extent | None = None
    accepted_leaks: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.classes and self.task != "reconstruction":
            raise ValueError(f"a model of {self.task} knows at least one class; found none")
        if self.channels not in ((len(self.measurements),) if self.axes == 0 else (1, 3)):
            raise ValueError(f"images have 1 or 3 channels, and tables as many as measurements; found {self.channels}")

    @property
    def unit(self) -> Literal["image", "row"]:
        """What people are told that it answers to."""
        return "row" if self.measurements else "image"

    @property
    def of_several(self) -> bool:
        """Whether its cases had several images or slices, so that one flat image by itself is no case to it."""
        return IMAGES_A_CASE in self.image_facts or (self.extent is not None and self.extent.slices[0] > 1)

    @property
    def asked(self) -> tuple[FoldRecord, ...]:
        """The folds whose networks answer, where the bundle is used."""
        return self.folds if self.recipe.inference.average_folds else self.folds[:1]

    def knows_patient(self, patient_id: str) -> bool:
        """Whether it learned from a patient, as far as it can tell: a data set may name the same person otherwise."""
        return patient_digest(patient_id, self.manifest_fingerprint) in self._known_patients

    @cached_property
    def _known_patients(self) -> frozenset[str]:
        return frozenset(self.patients)

    def recipe_of(self, record: FoldRecord) -> Recipe:
        """By which the network of one fold was made: the recipe, with what a search chose for it.

        Raises:
            BundleError: for chosen settings that no recipe can have.
        """
        if record.chosen is None:
            return self.recipe
        try:
            return self.recipe.with_settings(record.chosen.settings)
        except (InputError, ValueError, AttributeError) as error:
            why = f"what was chosen for fold {record.index} cannot be: {first_line(error)}"
            raise refusal(CONTENTS, why) from error

    @cached_property
    def bundle_id(self) -> str:
        """Twelve hex digits that change with anything in the bundle, its weights included."""
        return digest_of(content_of(self))[:12]


def patient_digest(patient_id: str, fingerprint: str) -> str:
    """What a bundle keeps of a patient: equal for equal ids in one bundle, another in every other.

    It shows no id and ties no two bundles together; whoever guesses an id can compute it.

    Args:
        patient_id: as the data set names the patient.
        fingerprint: of the data set that the model learned from.
    """
    return digest_of([fingerprint, patient_id])


def content_of(bundle: Bundle) -> dict[str, Any]:
    """All of a bundle as JSON; every setting of every step is written, so that no later default can change it."""
    content = _adapter().dump_python(bundle)
    content["recipe"]["preprocessing"]["steps"] = _tables(bundle.recipe.preprocessing.steps)
    for table, record in zip(content["folds"], bundle.folds, strict=True):
        table["steps"] = _tables(record.steps)
    for name, absent in (("extent", None), ("patients", ())):
        if getattr(bundle, name) == absent:
            del content[name]  # the bundle_id of an old bundle stays what others know it by
    for name, default in (("turned", False), ("average_folds", True)):
        if getattr(bundle.recipe.inference, name) == default:
            del content["recipe"]["inference"][name]  # as above
    # Not pydantic's own JSON, which writes null for NaN.
    as_json: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    return as_json


def _tables(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [settings_of(step) | step.model_dump() for step in steps]


def first_line(error: Exception) -> str:
    """What an error says, in one line that fits into another message."""
    return re.sub(r"\s+", " ", str(error))[:300]


def bundle_of(content: Any) -> Bundle:
    """The bundle of what `content_of` gave.

    Raises:
        ValueError: where that is not what a bundle says.
        InputError: the same, found by a step or a recipe.
    """
    return _adapter().validate_python(content)


@cache
def _adapter() -> TypeAdapter[Bundle]:
    return TypeAdapter(Bundle)


def refusal(file: str, why: str) -> BundleError:
    """What is said of a bundle that is not used."""
    return BundleError(
        f"{file}: this bundle is not used, because {why}. Copy the bundle again from where it was made, or train again."
    )
