"""How a bundle lies on the disk: sealed, written whole or not at all, and checked to the byte when it is read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from overread.bundle import (
    CONTENTS,
    DENOISERS,
    FOLDER,
    Bundle,
    FoldRecord,
    bundle_of,
    content_of,
    first_line,
    refusal,
)
from overread.errors import BundleError, InputError, OutputExists
from overread.preprocessing.learned import DenoiseLearned
from overread.provenance import digest_of

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT: Final = "overread-bundle"
_VERSION: Final = 1


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
        content = content_of(replace(bundle, folds=tuple(records)))
        written = bundle_of(content)
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
        return bundle_of(found["content"])
    except (ValueError, InputError) as error:
        raise refusal(CONTENTS, f"this Overread does not know what it says: {first_line(error)}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _to_disk(file: Path) -> None:
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
