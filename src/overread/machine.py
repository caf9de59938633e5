"""What the machine that this runs on has to compute with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
_GIB = 1 << 30


@dataclass(frozen=True)
class Machine:
    """What a plan may count on. What is free at the moment is no part of it, so that a plan is the same tomorrow.

    Args:
        cores: processors that this process may use.
        memory_bytes: of the machine, or of the share of it that a container is given; None where nobody says.
        card: name of the graphics card that torch can use; None without one.
    """

    cores: int
    memory_bytes: int | None = None
    card: str | None = None

    @classmethod
    def this_one(cls) -> Machine:
        """The one that this process runs on."""
        return cls(_cores(), _memory(), _card())

    def __str__(self) -> str:
        """In words, for people."""
        cores = f"{self.cores} core{'s' * (self.cores != 1)}"
        memory = "" if self.memory_bytes is None else f", {max(round(self.memory_bytes / _GIB), 1)} GB of memory"
        return f"{cores}{memory}, {self.card or 'no graphics card'}"


def _cores() -> int:
    with suppress(AttributeError):  # not on every system
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def _memory() -> int | None:
    whole = told(PROC / "meminfo", "MemTotal:")
    limits = [limit for limit, _ in cgroup_memory(PROC / "self" / "cgroup", CGROUPS)]
    return min([*([] if whole is None else [whole]), *limits], default=None)


def _card() -> str | None:
    if shutil.which("nvidia-smi") is None:  # torch takes seconds to import, and could use no card
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def cgroup_memory(membership: Path, root: Path) -> Iterator[tuple[int, int]]:
    """The limit of each control group that a process is in, both versions, and what is taken of it, in bytes.

    Pages of files that nobody read lately are given back when memory is short, and do not count as taken.

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
                    taken = int((group / usage).read_text()) - (told(group / "memory.stat", old, unit=1) or 0)
                    yield int((group / limit).read_text()), taken


def told(file: Path, name: str, *, unit: int = 1024) -> int | None:
    """A number of bytes from a file with lines of "name number"; None where it is not there."""
    with suppress(OSError):
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:1] == [name]:
                return int(words[1]) * unit
    return None
