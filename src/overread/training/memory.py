"""How much memory this process takes, took at most, and could take."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from typing import Protocol

import torch

from overread.machine import CGROUPS, PROC, cgroup_memory, told


class Memory(Protocol):
    """The memory that a training may exhaust."""

    def restart(self) -> None:
        """Forget what was taken so far at most."""
        ...

    def peak_bytes(self) -> int:
        """What was taken at most since then."""
        ...

    def used_bytes(self) -> int:
        """What is taken now."""
        ...

    def room_bytes(self) -> int | None:
        """What may be taken in all; None where nobody says so."""
        ...


def memory_of(device: str) -> Memory:
    """The memory of "cpu" or "cuda"."""
    return CardMemory() if device == "cuda" else HostMemory()


class HostMemory:
    """The machine's own, or the share of it that a container is given.

    Where the system has no /proc the peak is that of the whole process, and nobody says what may be taken.
    """

    def restart(self) -> None:
        """See `Memory`."""
        with suppress(OSError):  # not allowed everywhere; the peak is then that of the whole process
            (PROC / "self" / "clear_refs").write_text("5")  # proc(5): 5 resets the peak of the resident set

    def peak_bytes(self) -> int:
        """See `Memory`."""
        at_most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return told(PROC / "self" / "status", "VmHWM:") or at_most

    def used_bytes(self) -> int:
        """See `Memory`."""
        return told(PROC / "self" / "status", "VmRSS:") or self.peak_bytes()

    def room_bytes(self) -> int | None:
        """See `Memory`."""
        free = told(PROC / "meminfo", "MemAvailable:")
        left = [limit - taken for limit, taken in cgroup_memory(PROC / "self" / "cgroup", CGROUPS)]
        rooms = [*([] if free is None else [free]), *left]
        return self.used_bytes() + max(min(rooms), 0) if rooms else None


class CardMemory:
    """The graphics card's."""

    def restart(self) -> None:
        """See `Memory`."""
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        """See `Memory`."""
        return torch.cuda.max_memory_reserved()

    def used_bytes(self) -> int:
        """See `Memory`."""
        return torch.cuda.memory_reserved()

    def room_bytes(self) -> int | None:
        """See `Memory`."""
        return self.used_bytes() + torch.cuda.mem_get_info()[0]
