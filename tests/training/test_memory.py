"""What a process takes of the memory, and what it may take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overread.machine import cgroup_memory
from overread.training.memory import HostMemory

MB = 2**20


def test_the_peak_grows_with_what_is_taken_and_is_forgotten_on_demand() -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not let a process forget its peak")
    # in a process of its own: one that trained keeps what it freed, and takes nothing new for a while
    code = """
import numpy as np
from overread.training.memory import HostMemory
memory = HostMemory()
memory.restart()
before = memory.peak_bytes()
block = np.ones(200 * 2**20, np.uint8)
with_block, used = memory.peak_bytes(), memory.used_bytes()
del block
without = memory.used_bytes()
memory.restart()
print(before, with_block, used, without, memory.peak_bytes())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, with_block, used, without, after = map(int, done.stdout.split())
    assert with_block - before == pytest.approx(200 * MB, abs=30 * MB)
    assert used >= 200 * MB
    assert with_block - without > 150 * MB
    assert after < before + 100 * MB


def test_there_is_room_for_what_is_taken_already() -> None:
    memory = HostMemory()
    room = memory.room_bytes()
    assert room is None or room >= memory.used_bytes() * 0.9


def group(folder: Path, **numbers: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in numbers.items():
        (folder / name.replace("__", ".")).write_text(f"{number}\n")


def test_the_limits_of_a_container_and_of_those_around_it_count(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/pod/job\n")
    group(tmp_path / "pod", memory__max=900, memory__current=500, memory__stat="anon 300\ninactive_file 100")
    group(tmp_path / "pod" / "job", memory__max="max", memory__current=400, memory__stat="inactive_file 0")
    assert list(cgroup_memory(tmp_path / "membership", tmp_path)) == [(900, 400)]


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("9:name=systemd:/\n4:memory:/job\n1:cpu:/other\n0::/\n")
    numbers = {"memory__limit_in_bytes": 800, "memory__usage_in_bytes": 300, "memory__stat": "total_inactive_file 50"}
    group(tmp_path / "memory" / "job", **numbers)
    assert list(cgroup_memory(tmp_path / "membership", tmp_path)) == [(800, 250)]


def test_where_there_are_no_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert list(cgroup_memory(tmp_path / "absent", tmp_path)) == []
