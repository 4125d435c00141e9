"""What the C library does with memory that is given back."""

from __future__ import annotations

import ctypes
from functools import lru_cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""The parameters of glibc's ``mallopt``."""
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
"""In bytes; glibc takes no larger one."""
_KEPT = 1024 * 1024 * 1024
"""In bytes: more than a process of two readers holds at a time."""
_STEP = 64 * 1024 * 1024
"""By how many bytes memory grows and shrinks."""


@lru_cache(maxsize=1)
def keep_memory() -> bool:
    """Has the process keep the memory that batches leave for the next ones; says whether the C library can do that.

    Left alone, glibc gives the system back what a batch of some megabytes leaves, and gets it anew, page by page and
    zeroed, for the next one: a fifth of the time of a job that reads large messages.  Memory is shared by all threads,
    for what one keeps to itself no other can use.  Of another C library nothing is asked.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _STEP))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)
