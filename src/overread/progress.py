"""How long work tells whoever waits for it; the library itself prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """What the command line hands to the pipeline; a notebook may hand in its own."""

    def track(self, items: Iterable[Item], *, what: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items and show how many are done and how long the rest will take."""
        ...

    def say(self, line: str) -> None:
        """Show one line, such as the result of an epoch."""
        ...


class Silent:
    """Shows nothing."""

    def track(self, items: Iterable[Item], *, what: str, total: int | None = None) -> Iterator[Item]:  # noqa: ARG002
        """Yield the items."""
        yield from items

    def say(self, line: str) -> None:
        """Do nothing."""
