"""Where a training stands, in one file without code in it, so that an interrupted one goes on to the same result."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from overread.errors import BundleError
from overread.models.memory_format import format_of, laid_out
from overread.writing import whole

_FORMAT: Final = "overread-checkpoint-2"
_NO_DIGEST: Final = "0" * 64
_DIGEST: Final = re.compile(rb'"sha256":"([0-9a-f]{64})"')


@dataclass(frozen=True)
class Checkpoint:
    """What a training needs to go on.

    Args:
        tensors: group ("model", "average", "optimiser" ...) -> name -> tensor, on the CPU.
        state: everything else, as JSON.
    """

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save_checkpoint(path: Path, *, tensors: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any]) -> None:
    """Write a checkpoint; whatever happens meanwhile, `path` is the old one or the new one and never half of one.

    Args:
        path: one safetensors file; its folder exists.
        tensors: group -> name -> tensor; a group has no "/" in its name.
        state: anything that JSON can say, without NaN or infinity (see `packed` for what it cannot).

    Raises:
        ValueError: for a group with "/", or a state that JSON cannot say.
        OSError: where it cannot be written, such as on a full disk.
    """
    if wrong := [group for group in tensors if "/" in group]:
        raise ValueError(f"a group of tensors has no '/' in its name; found {wrong}")
    # Each tensor gets memory of its own: the format knows neither shared nor strided ones.
    flat = {
        f"{group}/{name}": torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    text = json.dumps({"groups": list(tensors), "state": state}, sort_keys=True, allow_nan=False)
    with whole(path) as temporary:
        try:
            save_file(flat, temporary, metadata={"format": _FORMAT, "content": text, "sha256": _NO_DIGEST})
        except SafetensorError as error:  # it says so of a full disk too
            raise OSError(f"'{path}': the checkpoint cannot be written ({error})") from error
        _seal(temporary)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint; None where there is none.

    Raises:
        BundleError: where there is one and it is damaged, of another version, or no checkpoint at all.
    """
    if not path.exists():
        return None
    try:
        _check_seal(path)
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise _refused(path, f"it says to be {metadata.get('format')!r}, not {_FORMAT!r}")
            content = json.loads(metadata["content"])
            tensors: dict[str, dict[str, Tensor]] = {group: {} for group in content["groups"]}
            for key in file.keys():  # noqa: SIM118 - a file of tensors cannot be iterated over
                group, name = key.split("/", 1)
                tensors[group][name] = file.get_tensor(key)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _refused(path, f"it cannot be read ({type(error).__name__})") from error
    return Checkpoint(tensors, content["state"])


def packed(value: Any, *, name: str = "value") -> tuple[Any, dict[str, Tensor]]:
    """Part a nested state, such as an optimiser's `state_dict()`, into JSON and named tensors.

    Args:
        value: dicts (with any str or int keys), lists, tuples, numbers, text, None and tensors.
        name: what the names of the tensors begin with.

    Returns:
        What JSON can say, with the tensors' names in their places, and the tensors. `unpacked` is the way back;
        it gives equal values of equal types, and tensors with equal bits in equal memory order.

    Raises:
        TypeError: for anything else.
    """
    tensors: dict[str, Tensor] = {}

    def pack(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value
            return {"tensor": name, "memory_format": format_of(value)}
        if isinstance(value, dict):
            return {"dict": [[pack(key, name), pack(item, f"{name}.{key}")] for key, item in value.items()]}
        if isinstance(value, tuple | list):
            return {type(value).__name__: [pack(item, f"{name}.{number}") for number, item in enumerate(value)]}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold")

    return pack(value, name), tensors


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Join what `packed` parted."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return laid_out(tensors[value["tensor"]], value["memory_format"])
    ((kind, content),) = value.items()
    if kind == "float":
        return float(content)
    if kind == "dict":
        return {unpacked(key, tensors): unpacked(item, tensors) for key, item in content}
    items = [unpacked(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _seal(path: Path) -> None:
    """Put the SHA-256 of the file, counted with zeros in its place, into the file, and the file onto the disk."""
    header, digest = _header_and_digest(path)
    found = _DIGEST.search(header)
    assert found
    with open(path, "r+b") as file:
        file.seek(found.start(1))
        file.write(digest.encode())
        file.flush()
        os.fsync(file.fileno())


def _check_seal(path: Path) -> None:
    header, digest = _header_and_digest(path)
    found = _DIGEST.search(header)
    if found is None or found[1].decode() != digest:
        raise _refused(path, "its content is not what was written")


def _header_and_digest(path: Path) -> tuple[bytes, str]:
    """The first bytes up to the end of the safetensors header, and the file's SHA-256 with zeros for the seal."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise _refused(path, "it is cut short, or no safetensors file")
        file.seek(0)
        header = file.read(8 + length)
        sha256 = hashlib.sha256(_DIGEST.sub(b'"sha256":"' + _NO_DIGEST.encode() + b'"', header, count=1))
        while block := file.read(1 << 22):
            sha256.update(block)
    return header, sha256.hexdigest()


def _refused(path: Path, why: str) -> BundleError:
    return BundleError(
        f"{path.name}: this is no whole checkpoint of Overread: {why}. It was not used. Delete the fold's folder "
        f"'{path.parent.name}' and start the same training again."
    )
