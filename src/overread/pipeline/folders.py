"""Folders that results are written into: never over anything, and never half."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from overread.errors import InputError, OutputExists, OverreadError
from overread.training.section import CHECKPOINTS
from overread.writing import write_whole

IDENTITY = "run.json"
PLAN = "recipe.toml"
"""The recipe of a run that was started without one."""
_LOCK = ".lock"
_KEPT = (
    "Nothing that was trained is lost: it is kept in '{folder}', and once the cause is mended the same command goes on "
    "from there. With another recipe or other data it is another run, for a folder of its own."
)


@contextmanager
def run_folder(
    folder: Path, *, recipe: str, data: str, accept_leaks: bool = False, planned: bool = False
) -> Iterator[Path]:
    """Hold the folder of a run; a run that was interrupted is gone on with, any other content is left alone.

    Args:
        folder: made where absent.
        recipe: digest of the resolved recipe.
        data: fingerprint of the manifest.
        accept_leaks: whether splits that leak are taken: a run of its own.
        planned: the recipe is the run's own; a folder that holds nothing but it is new.

    Raises:
        OutputExists: the folder holds something else, or the run of another recipe or data set.
        InputError: another process is training into it, or its lock is no file of its own.
        Exception: what ends the block, with a note on what is kept where something was trained.
    """
    identity = {"format": "overread-run", "recipe": recipe, "data": data}
    if accept_leaks:
        identity["leaks"] = "accepted"
    if folder.exists() and not folder.is_dir():
        raise OutputExists(f"'{folder}' is a file. Name a folder that is new or empty.")
    own = {_LOCK, IDENTITY, *([PLAN] if planned else [])}
    before = {entry.name for entry in folder.iterdir()} if folder.exists() else None
    _check(folder, identity, own)  # before anything is put into it
    folder.mkdir(parents=True, exist_ok=True)
    with _lock_file(folder / _LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"Another process is training into '{folder}'. Wait for it, or name another folder."
            ) from error
        _check(folder, identity, own)  # again: another process may have begun meanwhile
        write_whole(folder / IDENTITY, json.dumps(identity, indent=1))
        try:
            yield folder
        except Exception as error:
            if isinstance(error, OverreadError):
                _leave(folder, own, before)
            if any((folder / CHECKPOINTS).rglob("*.*")):
                error.add_note(_KEPT.format(folder=folder))
            raise


def _leave(folder: Path, own: Set[str], before: Set[str] | None) -> None:
    """After a refusal leave the folder as it was found, unless something was learned already."""
    new = {entry.name for entry in folder.iterdir()} - (before or set())
    if new <= own:
        for name in new:
            (folder / name).unlink()
        if before is None:
            folder.rmdir()


def _lock_file(path: Path) -> BinaryIO:
    """Open the lock, made where absent; never emptied, and not through a link: that could be any file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # the last, so that a named pipe does not hang
    try:
        return open(path, "r+b", buffering=0, opener=lambda name, _: os.open(name, flags, 0o666))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(
            f"'{path}' is a link. Nothing was changed; take it away, or name a folder that is new or empty."
        ) from error


def _check(folder: Path, identity: dict[str, str], own: Set[str]) -> None:
    file = folder / IDENTITY
    others = [entry.name for entry in folder.iterdir() if entry.name not in own] if folder.exists() else []
    if not others:  # new, or a run that was refused before anything was learned
        return
    if not file.exists():
        raise OutputExists(
            f"'{folder}' is not empty ({', '.join(sorted(others)[:3])} ...) and no run of Overread. Nothing was "
            "changed; name a folder that is new or empty."
        )
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = {}
    found = found if isinstance(found, dict) else {}
    if found != identity:
        what = [name for name in ("recipe", "data") if found.get(name) != identity[name]]
        if found.get("leaks") != identity.get("leaks"):
            what.append("answer to whether leaks are accepted (--accept-leaks)")
        raise OutputExists(
            f"'{folder}' holds a run with another {' and another '.join(what) or 'format'}. Nothing was changed; name "
            "another folder, or give the recipe and the data of that run to go on with it."
        )


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """A new folder that appears under its name only when the block ends without an error.

    Raises:
        OutputExists: there is something already.
    """
    folder = folder.resolve()  # a link is followed, not replaced
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise OutputExists(
            f"'{folder}' holds something already. Nothing was changed; name a folder that is new or empty."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-", ignore_cleanup_errors=True) as name:
        inside = Path(name) / "out"
        inside.mkdir()
        yield inside
        try:
            inside.replace(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise OutputExists(
                f"Another process wrote '{folder}' meanwhile. It was left as it is; name another folder."
            ) from error
