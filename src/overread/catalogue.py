"""Parts by name: the folder is the registry."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from overread.errors import UnknownName

Part = TypeVar("Part")


def suggestion(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The words that answer a wrong name: the nearest right one, then all of them.

    >>> suggestion("windwo", ["resize", "window"])
    "Did you mean 'window'? Known: resize, window."
    """
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Known: {', '.join(sorted(known)) or 'none'}."


class Catalogue(Generic[Part]):
    """The parts of one kind, found by walking one package at the first look-up.

    Args:
        noun: what a part is called in messages, such as "cleaning step".
        package: the package whose modules hold the parts, such as "overread.preprocessing".
    """

    def __init__(self, noun: str, package: str) -> None:
        self.noun = noun
        self._package = package
        self._parts: dict[str, Part] = {}
        self._walked = False

    def add(self, name: str) -> Callable[[Part], Part]:
        """Decorate a part to enter it under `name`; a name that is taken raises ValueError."""

        def enter(part: Part) -> Part:
            if name in self._parts and self._parts[name] is not part:
                raise ValueError(f"two parts are called '{name}' in the catalogue of {self.noun}s")
            self._parts[name] = part
            return part

        return enter

    def names(self) -> list[str]:
        """All names, sorted."""
        self._walk()
        return sorted(self._parts)

    def get(self, name: str) -> Part:
        """The part of that name.

        Raises:
            UnknownName: with the nearest right name and all known ones.
        """
        self._walk()
        if name not in self._parts:
            raise UnknownName(f"No {self.noun} is called '{name}'. {suggestion(name, list(self._parts))}")
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        """Whether a part has that name."""
        self._walk()
        return name in self._parts

    def _walk(self) -> None:
        if self._walked:
            return
        self._walked = True  # first: the modules themselves may look something up
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
