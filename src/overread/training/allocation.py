"""Memory that one training step frees is kept for the next."""

from __future__ import annotations

import ctypes
import gc
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BYTES = 512 * 2**20
_LARGEST_KEPT_BYTES = 32 * 2**20  # glibc takes no larger value on 64 bit


def keep_freed_memory() -> None:
    """Let this process keep up to 512 MiB that it freed, for all blocks up to 32 MiB.

    As it comes, glibc gives the activations of every training step back to the system and takes them anew in the next
    one, page by page; what that costs is measured in `benchmarks/training_step.py`. Where there is no glibc, nothing
    is done.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_freed_memory() -> None:
    """Give back to the system what is kept, so that what is measured next is not hidden in it."""
    import torch

    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    torch.cuda.empty_cache()  # where no card is in use, nothing is done
