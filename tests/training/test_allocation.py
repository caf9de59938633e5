"""Freed memory is there again at once for the next training step."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy
from overread.training.allocation import keep_freed_memory

{first}
def step():
    blocks = [numpy.ones(20 * 2**20, numpy.uint8) for _ in range(4)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
TEN_STEPS = 10 * 4 * 20 * 2**20 // 4096  # pages


def page_faults(first: str) -> int:
    script = STEPS.format(first=first)
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this switch")
def test_the_memory_of_one_step_is_not_taken_anew_by_the_next() -> None:
    assert page_faults("keep_freed_memory()") < 0.05 * TEN_STEPS < page_faults("pass")
