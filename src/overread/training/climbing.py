"""Memory is approached from below, so that what would not fit is refused and does not kill the machine."""

from __future__ import annotations

from collections.abc import Callable

from overread.errors import TooLittleMemory
from overread.training.memory import Memory

MARGIN = 1.15
"""What was measured of memory, times this, is what is told: later batches may hold more marks, and memory frays."""

FIRST = 2
"""Cases at first: batch norm cannot bear a single one."""

_RUNG = 4  # each next number is at most so many times as large


def climb(target: int, do: Callable[[int], None], memory: Memory, too_many: Callable[[int, int], str]) -> int:
    """Do something with more and more cases, up to a number; never with so many that memory might not bear it.

    At first all of the growth counts as that of cases, though weights and their gradients come only once: too much
    is expected then, so that the next number is smaller and shows better what a case takes.

    Args:
        target: so many in the end.
        do: takes how many.
        memory: that it takes.
        too_many: takes the target and how many fit, and says so.

    Returns:
        The peak of memory, in bytes.

    Raises:
        TooLittleMemory: with so many it would not fit.
    """
    size, peak, following = 0, memory.used_bytes(), min(FIRST, target)
    while size < target:
        memory.restart()
        do(following)
        higher = max(memory.peak_bytes(), peak)
        a_case = max((higher - peak) / (following - size), 1.0)
        size, peak, room = following, higher, memory.room_bytes()
        fits = target if room is None else int(size + (room / MARGIN - peak) / a_case)
        if room is not None and fits < min(size + 1, target):
            needed = MARGIN * (peak + a_case * (target - size))
            raise TooLittleMemory(
                f"{too_many(target, fits)} It would take about {gigabytes(needed)} of memory, and there are "
                f"{gigabytes(room)}. Nothing was learned yet."
            )
        following = min(target, size * _RUNG, fits)
    return peak


def gigabytes(size: float) -> str:
    """A size as a person says it.

    >>> gigabytes(1.62e9), gigabytes(31e9)
    ('1.6 GB', '31 GB')
    """
    return f"{size / 1e9:.1f} GB" if size < 10e9 else f"{size / 1e9:.0f} GB"
