"""How a terminal, or a log, shows that long work goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Item = TypeVar("Item")

PAUSE_S = 5.0
"""A log gets at most one line in this time."""


def time_left(seconds: float) -> str:
    """How long something still takes, as a person says it.

    >>> time_left(7), time_left(100), time_left(4000)
    ('about 7 s left', 'about 2 min left', 'about 1 h 7 min left')
    """
    return f"{about(seconds)} left"


def about(seconds: float) -> str:
    """A time as a person says it.

    >>> about(100)
    'about 2 min'
    """
    if seconds < 60:
        return f"about {seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min"


def shown(line: str) -> str:
    r"""One line as a terminal may get it: what is no letter that can be seen is written as an escape.

    The name of a file may hold a line break, or a sequence that clears the screen or hides what was printed.

    >>> print(shown("a\x1b[2J\nrefused: b"))
    a\x1b[2J\nrefused: b
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def _length(items: Iterable[object], total: int | None) -> int | None:
    return len(items) if total is None and isinstance(items, Sized) else total


class Lines:
    """Progress as plain lines, for a log: one every few seconds, and one when the outermost work is done."""

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._said = clock()
        self._depth = 0

    def track(self, items: Iterable[Item], *, what: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items and write now and then how many are done and how long the rest will take."""
        total, started, done = _length(items, total), self._clock(), 0
        self._depth += 1
        try:
            for item in items:
                yield item
                done += 1
                now = self._clock()
                if now - self._said >= PAUSE_S and done != total:
                    self._said = now
                    left = time_left((now - started) / done * (total - done)) if total else ""
                    # the first item may carry the cost of many: a model that starts, images that are read in lots
                    self.say(
                        f"{what}: {done}{f' of {total}' if total else ''}{f', {left}' if left and done > 1 else ''}"
                    )
        finally:
            self._depth -= 1
        if not self._depth and done:
            self.say(f"{what}: {done} done in {self._clock() - started:.0f} s")

    def say(self, line: str) -> None:
        """Write one line."""
        self._stream.write(f"{shown(line)}\n")
        self._stream.flush()


class Bars:
    """Progress as bars, for a terminal; they vanish when their work is done."""

    def __init__(self) -> None:
        self._bars: RichProgress | None = None
        self._depth = 0

    def track(self, items: Iterable[Item], *, what: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items under a bar with the time that is left."""
        bars = self._bars = self._bars or _rich_progress()
        if not self._depth:
            bars.start()
        self._depth += 1
        task = bars.add_task(what, total=_length(items, total))
        try:
            for item in items:
                yield item
                bars.advance(task)
        finally:
            bars.remove_task(task)
            self._depth -= 1
            if not self._depth:
                bars.stop()

    def say(self, line: str) -> None:
        """Write one line above the bars."""
        if self._bars is not None and self._depth:
            self._bars.console.print(shown(line), markup=False, highlight=False)
        else:
            sys.stderr.write(f"{shown(line)}\n")


def _rich_progress() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
