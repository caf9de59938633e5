"""How much memory this process takes, took at most, and could take."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


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
            (_PROC / "self" / "clear_refs").write_text("5")  # proc(5): 5 resets the peak of the resident set

    def peak_bytes(self) -> int:
        """See `Memory`."""
        at_most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return _told(_PROC / "self" / "status", "VmHWM:") or at_most

    def used_bytes(self) -> int:
        """See `Memory`."""
        return _told(_PROC / "self" / "status", "VmRSS:") or self.peak_bytes()

    def room_bytes(self) -> int | None:
        """See `Memory`."""
        free = _told(_PROC / "meminfo", "MemAvailable:")
        rooms = [*([] if free is None else [free]), *cgroup_rooms(_PROC / "self" / "cgroup", _CGROUPS)]
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


def cgroup_rooms(membership: Path, root: Path) -> Iterator[int]:
    """Bytes that are left below the limit of each control group that a process is in, both versions.

    Pages of files that nobody read lately are given back when memory is short, and count as left.

    Args:
        membership: such as /proc/self/cgroup, lines of "number:controllers:path".
        root: where the groups are mounted.
    """
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            first = controllers == "memory"
            top = root / "memory" if first else root
            limit, usage, old = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                if first
                else ("memory.max", "memory.current", "inactive_file")
            )
            here = Path(path)
            for group in (top / one.relative_to("/") for one in (here, *here.parents)):
                with suppress(OSError, ValueError):  # no such file at the top, or the word "max": no limit
                    taken = int((group / usage).read_text()) - (_told(group / "memory.stat", old, unit=1) or 0)
                    yield int((group / limit).read_text()) - taken


def _told(file: Path, name: str, *, unit: int = 1024) -> int | None:
    """A number of bytes from a file with lines of "name number"; None where it is not there."""
    with suppress(OSError):
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:1] == [name]:
                return int(words[1]) * unit
    return None
