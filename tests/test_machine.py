"""What a plan may count on: the cores, the memory and the card of this machine."""

import os
import subprocess
import sys

import pytest

from overread.machine import Machine


def test_a_machine_is_named_by_what_it_has() -> None:
    assert str(Machine(2, 24 << 30)) == "2 cores, 24 GB of memory, no graphics card"
    assert str(Machine(1, None, "Card 9")) == "1 core, Card 9"


def test_this_machine_is_the_same_twice_however_busy() -> None:
    first = Machine.this_one()
    block = bytearray(200 << 20)
    assert Machine.this_one() == first
    assert block
    assert 1 <= first.cores <= (os.cpu_count() or 1)
    assert first.memory_bytes is None or first.memory_bytes > 1 << 28


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system ties no process to cores")
def test_only_the_cores_that_the_process_may_use_count() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from overread.machine import Machine; print(Machine.this_one().cores)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
