"""The contract of a data set layout, and the door through which DATA comes in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from overread.catalogue import Catalogue
from overread.data.manifest import Manifest
from overread.data.sources.files import is_image
from overread.data.sources.headers import is_simulated
from overread.errors import SourceError

_PACKED = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz")
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")


class Source(ABC):
    """One data set layout.

    A source claims a path by what it holds, never by what it is called, and at most one source claims a path.
    What it meets and cannot use it names in `Manifest.found`; it leaves out nothing silently.
    """

    layout: ClassVar[str]
    """The layout in one line, for the message that says what was looked for."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether the file or folder has this layout.

        Raises:
            SourceError: where it would have, were it not broken; shown when no other source claims it.
        """

    @abstractmethod
    def read(self, path: Path) -> Manifest:
        """The data set at an absolute path, its cases sorted by id.

        Raises:
            SourceError: where it has not this layout, or is broken beyond naming single problems.
        """


sources: Catalogue[type[Source]] = Catalogue("data set layout", "overread.data.sources")


def open_data(path: Path, *, source: str | None = None) -> Manifest:
    """Read a data set, in whichever known layout it is.

    Args:
        path: a file or a folder.
        source: the name of the layout; None recognises it.

    Raises:
        SourceError: nothing there, no or several known layouts, or a broken one.
        UnknownName: no layout is called `source`.
    """
    path = Path(path).expanduser().resolve()
    if source is not None:
        reader = sources.get(source)()
        _check_exists(path)
        return _told_simulated(reader.read(path))
    _check_exists(path)
    claims, reasons = [], []
    for name in sources:
        try:
            if sources.get(name)().recognises(path):
                claims.append(name)
        except SourceError as error:
            reasons.append(str(error))
    if len(claims) == 1:
        return _told_simulated(sources.get(claims[0])().read(path))
    if claims:
        raise SourceError(
            f"{path}: this fits several layouts ({', '.join(claims)}). Choose one with --source NAME, such as "
            f"--source {claims[0]}."
        )
    looked_for = "\n".join(f"  {name}: {sources.get(name).layout}" for name in sources)
    raise SourceError(
        f"{path}: this is no data set layout that Overread knows. Found: {_contents(path)}.{_hint(path)}"
        + "".join(f"\nNearly fits: {reason}" for reason in dict.fromkeys(reasons))
        + f"\nLooked for:\n{looked_for}\nIf it is one of these, choose it with --source NAME."
    )


def _told_simulated(manifest: Manifest) -> Manifest:
    """The manifest, known to be simulated where one of its images says so of itself."""
    images = (ref.path for case in manifest.cases for ref in case.images)
    if manifest.simulated or not any(map(is_simulated, images)):
        return manifest
    return replace(manifest, simulated=True)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder. Check the path of the data set.")
    if path.is_dir() and not any(path.iterdir()):
        raise SourceError(f"{path}: the folder is empty. Expected a data set in it.")


def _hint(path: Path) -> str:
    """What to do about files that hold what would be read, in a wrapping that is not."""
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        suffix = file.suffix.lower()
        if suffix in _PACKED and not is_image(file):
            return f" '{file.name}' is packed: unpack it and give the folder that comes out."
        if suffix in _SPREADSHEETS:
            return f" '{file.name}' is a spreadsheet: save it as CSV."
    return ""


def _contents(path: Path) -> str:
    if path.is_file():
        return f"a file of {path.stat().st_size} bytes, extension '{path.suffix}'"
    entries = sorted(path.iterdir())
    folders = [entry.name + "/" for entry in entries if entry.is_dir()]
    suffixes = Counter(entry.suffix.lower() or "no extension" for entry in entries if entry.is_file())
    listed = [*folders[:6], *(["..."] if len(folders) > 6 else [])]
    files = [f"{number} file(s) {suffix}" for suffix, number in suffixes.most_common(6)]
    return f"{len(folders)} folder(s) {' '.join(listed)}".rstrip() + "".join(f", {entry}" for entry in files)
