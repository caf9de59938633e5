"""Where a result comes from: hashes, seeds and the software that made it."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("overread", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-image"),
    *("pycocotools", "pydicom", "imagecodecs", "pillow", "tifffile", "optuna"),
)


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of any JSON value; equal values give equal digests, whatever the key order.

    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; read again only when its size or time changed."""
    stat = path.stat()
    return _file_digest(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=200_000)
def _file_digest(path: str, _size: int, _mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seed_for(*parts: object) -> int:
    """A 31-bit seed for one use, made from the recipe's seed and what it is for.

    Streams made this way do not depend on how often another one was drawn from, so that a run which is
    interrupted goes on to the same result.

    >>> seed_for(7, "fold", 0) != seed_for(7, "fold", 1)
    True
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def environment() -> dict[str, str]:
    """Versions of the software that a result depends on; no host name, user or path."""
    found = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
