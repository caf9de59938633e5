"""Bundle: a trained model with all that is needed to use it again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from overread.data.extent import Extent
from overread.data.manifest import Task
from overread.data.prepared import IMAGES_A_CASE
from overread.errors import BundleError, InputError, OutputExists
from overread.image import Axes
from overread.preprocessing.learned import DenoiseLearned
from overread.preprocessing.section import AnyStep
from overread.preprocessing.step import Step, settings_of
from overread.provenance import digest_of
from overread.recipe import Recipe
from overread.training.computing import Computing

if TYPE_CHECKING:
    from torch import Tensor

CONTENTS: Final = "bundle.json"
FOLDER: Final = "bundle"
"""The name of the bundle's folder in the folder of a run."""

DENOISERS: Final = "denoisers"
"""The folder in a bundle that holds the bundles of the denoisers that its steps ask, each under its bundle_id."""

_FORMAT: Final = "overread-bundle"
_VERSION: Final = 1
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
            why = f"what was chosen for fold {record.index} cannot be: {_first_line(error)}"
            raise refusal(CONTENTS, why) from error

    @cached_property
    def bundle_id(self) -> str:
        """Twelve hex digits that change with anything in the bundle, its weights included."""
        return digest_of(_content(self))[:12]


def patient_digest(patient_id: str, fingerprint: str) -> str:
    """What a bundle keeps of a patient: equal for equal ids in one bundle, another in every other.

    It shows no id and ties no two bundles together; whoever guesses an id can compute it.

    Args:
        patient_id: as the data set names the patient.
        fingerprint: of the data set that the model learned from.
    """
    return digest_of([fingerprint, patient_id])


def save_bundle(
    folder: Path, bundle: Bundle, weights: Sequence[Mapping[str, Tensor] | Path], *, denoisers: Path | None = None
) -> Bundle:
    """Write a bundle, whole or not at all.

    An older bundle of the same run (equal recipe and data set) is replaced; it is moved aside first and thrown away
    last, so that one of the two is on the disk at every moment.

    Args:
        folder: where to; its parent is made where it is absent.
        bundle: what to write; names and digests of the weights are filled in.
        weights: of each fold, in order: tensors by name, or a safetensors file to copy.
        denoisers: a folder with the bundles of the denoisers that the steps ask, each under its bundle_id; they are
            copied, so that the bundle can be used where they are gone.

    Returns:
        The bundle as it was written.

    Raises:
        OutputExists: where `folder` holds anything but a bundle of the same run.
        BundleError: for a weights file that is no safetensors file.
        ValueError: for NaN or infinity in what is said about the model, for a step that was not fitted, or
            not one set of weights a fold.
    """
    if [record.index for record in bundle.folds] != list(range(len(weights))) or not weights:
        indices = [record.index for record in bundle.folds]
        raise ValueError(f"a bundle has one set of weights for each fold, from 0; found {len(weights)} for {indices}")
    if unfitted := [record.index for record in bundle.folds if any(step.learns for step in record.steps)]:
        raise ValueError(f"a bundle holds fitted steps; folds {unfitted} have steps that still learn")
    _refuse_to_overwrite(folder, bundle)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-", ignore_cleanup_errors=True) as name:
        new, old = Path(name, "new"), Path(name, "old")
        new.mkdir()
        records = []
        for record, given in zip(bundle.folds, weights, strict=True):
            file = new / _weights_file(record.index)
            _write_weights(file, given)
            records.append(replace(record, weights_file=file.name, sha256=_sha256(file.read_bytes())))
        content = _content(replace(bundle, folds=tuple(records)))
        written = _adapter().validate_python(content)
        (new / CONTENTS).write_text(_text(content), encoding="utf-8")
        for bundle_id in asked_denoisers(written):
            if denoisers is None:
                raise ValueError(f"the steps of this bundle ask the denoiser {bundle_id}, which was not given")
            shutil.copytree(denoisers / bundle_id, new / DENOISERS / bundle_id)
            _check_denoiser(new, bundle_id)
        for file in new.rglob("*"):
            if file.is_file():
                _to_disk(file)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
    return written


def bundle_folder(path: Path) -> Path:
    """The folder that holds `bundle.json`: `path` itself, or the one in the folder of a run.

    Raises:
        BundleError: where there is none.
    """
    for folder in (path, path / FOLDER):
        if (folder / CONTENTS).is_file():
            return folder
    raise BundleError(
        f"'{path.name}' holds no trained model: expected {CONTENTS} in it or in its folder '{FOLDER}'. Name the folder "
        f"of a finished run; a run that was interrupted is finished by starting the same training again."
    )


def weights_bytes(folder: Path, bundle: Bundle) -> int:
    """How much the weights of all its networks take on the disk.

    Args:
        folder: the bundle's (see `bundle_folder`).
        bundle: as it was saved there.
    """
    return sum((folder / _weights_file(record.index)).stat().st_size for record in bundle.folds)


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check every byte of it.

    Args:
        path: its folder, or the folder of the run.

    Raises:
        BundleError: for a bundle that is missing, incomplete, changed or of another version; it names the file.
    """
    folder = bundle_folder(path)
    bundle = _read(folder)
    if [record.index for record in bundle.folds] != list(range(len(bundle.folds))) or not bundle.folds:
        raise refusal(CONTENTS, "its folds are not numbered 0, 1, 2 ...")
    for record in bundle.folds:
        _checked_weights(folder, record)
    for bundle_id in asked_denoisers(bundle):
        _check_denoiser(folder, bundle_id)
    return bundle


def asked_denoisers(bundle: Bundle) -> list[str]:
    """The bundle_ids of the denoisers that its steps ask, sorted."""
    chain = [step for record in bundle.folds for step in record.steps]
    return sorted({step.bundle_id for step in chain if isinstance(step, DenoiseLearned) and step.bundle_id})


def _check_denoiser(folder: Path, bundle_id: str) -> None:
    try:
        found = load_bundle(folder / DENOISERS / bundle_id)
    except BundleError as error:
        raise refusal(f"{DENOISERS}/{bundle_id}", f"the denoiser that its steps ask is not whole: {error}") from error
    if found.bundle_id != bundle_id:
        raise refusal(f"{DENOISERS}/{bundle_id}", f"it holds another denoiser, {found.bundle_id}")


def fold_weights(folder: Path, record: FoldRecord) -> dict[str, Tensor]:
    """The weights of one fold, checked against their digest.

    Args:
        folder: the bundle's (see `bundle_folder`).
        record: which fold.

    Raises:
        BundleError: for a file that is missing, changed or no safetensors file, and for weights that are no numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _checked_weights(folder, record)
    try:
        weights = load(content)
    except SafetensorError as error:
        raise refusal(_weights_file(record.index), "it is no safetensors file") from error
    if broken := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise refusal(_weights_file(record.index), f"its weights '{broken[0]}' hold NaN or infinity")
    return weights


def _weights_file(index: int) -> str:
    return f"fold-{index}.safetensors"


def _checked_weights(folder: Path, record: FoldRecord) -> bytes:
    """The bytes of a weights file, which are those that were written."""
    name = _weights_file(record.index)
    if record.weights_file != name:  # never a path that leads out of the bundle
        raise refusal(CONTENTS, f"fold {record.index} names the weights file {record.weights_file!r}, not '{name}'")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise refusal(name, f"it is missing or cannot be read ({error.strerror})") from error
    if _sha256(content) != record.sha256:
        raise refusal(name, f"its {len(content)} bytes are not those that were written (another SHA-256)")
    return content


def _write_weights(file: Path, given: Mapping[str, Tensor] | Path) -> None:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    if not isinstance(given, Path):
        # Memory of its own for each, because the format knows neither shared nor strided tensors.
        save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in given.items()}, file)
        return
    shutil.copyfile(given, file)
    try:
        with safe_open(file, framework="numpy"):
            pass
    except SafetensorError as error:
        raise BundleError(f"{given.name}: weights are given as a safetensors file, which this is not.") from error


def _refuse_to_overwrite(folder: Path, bundle: Bundle) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    why = "is no bundle"
    with suppress(BundleError):
        found = _read(folder)
        if (found.recipe.digest, found.manifest_fingerprint) == (bundle.recipe.digest, bundle.manifest_fingerprint):
            return
        why = "is the bundle of another recipe or data set"
    raise OutputExists(f"'{folder.name}' exists already and {why}. Move it away, or name another folder.")


def _content(bundle: Bundle) -> dict[str, Any]:
    """All of a bundle as JSON; every setting of every step is written, so that no later default can change it."""
    content = _adapter().dump_python(bundle)
    content["recipe"]["preprocessing"]["steps"] = _tables(bundle.recipe.preprocessing.steps)
    for table, record in zip(content["folds"], bundle.folds, strict=True):
        table["steps"] = _tables(record.steps)
    if bundle.extent is None:
        del content["extent"]  # the bundle_id of an old bundle stays what others know it by
    # Not pydantic's own JSON, which writes null for NaN.
    as_json: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    return as_json


def _tables(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [settings_of(step) | step.model_dump() for step in steps]


def _text(content: dict[str, Any]) -> str:
    whole = {"format": _FORMAT, "version": _VERSION, "sha256": digest_of(content), "content": content}
    return json.dumps(whole, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _read(folder: Path) -> Bundle:
    """What `bundle.json` says, after a check that it is what was written, to the byte."""
    try:
        text = (folder / CONTENTS).read_bytes().decode("utf-8")
        found = json.loads(text)
    except OSError as error:
        raise refusal(CONTENTS, f"it is missing or cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise refusal(CONTENTS, "it is no JSON; perhaps it was cut short") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise refusal(CONTENTS, f"it does not say to be of the format '{_FORMAT}'")
    if found.get("version") != _VERSION:
        raise BundleError(
            f"{CONTENTS}: this bundle has version {found.get('version')!r} of the format; this Overread reads version "
            f"{_VERSION}. Use the Overread that wrote it, or train again."
        )
    try:
        unchanged = isinstance(found.get("content"), dict) and _text(found["content"]) == text
    except (ValueError, RecursionError):  # NaN, or text that is no Unicode
        unchanged = False
    if not unchanged:
        raise refusal(CONTENTS, "its content is not what was written (another SHA-256)")
    try:
        return _adapter().validate_python(found["content"])
    except (ValueError, InputError) as error:
        raise refusal(CONTENTS, f"this Overread does not know what it says: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:300]


@cache
def _adapter() -> TypeAdapter[Bundle]:
    return TypeAdapter(Bundle)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _to_disk(file: Path) -> None:
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())


def refusal(file: str, why: str) -> BundleError:
    """What is said of a bundle that is not used."""
    return BundleError(
        f"{file}: this bundle is not used, because {why}. Copy the bundle again from where it was made, or train again."
    )
