"""What the C library does with memory that is given back."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""The parameters of glibc's ``mallopt``."""
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
"""In bytes; glibc takes no larger one."""
_KEPT = 1024 * 1024 * 1024
"""In bytes: more than a process of two readers holds at a time."""
_STEP = 64 * 1024 * 1024
"""By how many bytes memory grows and shrinks."""
MUCH_UNUSED = 256 * 1024 * 1024
"""In bytes: what is kept unused without being looked at."""
RELEASE_SECONDS = 10.0
"""Between two releases: to have again what is needed costs some 50 ms."""


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


class Leftovers:
    """The memory that is kept and not used; safe under threads.

    What batches of many sizes leave falls into pieces, and more and more of it is kept: 40 MB more each minute of a
    stream of 50,000 readings/s whose readers hold 100 MB.  So where it is much it is given back, every ten seconds.

    Args:
        unused: How many bytes it is; None where the C library does not tell.
        release: Gives it back.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        unused: Callable[[], int | None] | None = None,
        release: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unused = unused or _unused
        self._release = release or _release
        self._clock = clock
        self._lock = threading.Lock()
        self._looked = clock()

    def release(self) -> bool:
        """Gives back what is kept, where it is much and was not just now; says whether it did."""
        with self._lock:
            if self._clock() - self._looked < RELEASE_SECONDS:
                return False
            self._looked = self._clock()
        if (self._unused() or 0) < MUCH_UNUSED:
            return False
        self._release()
        return True


class _Account(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


def _unused() -> int | None:
    try:
        account: Any = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    account.restype = _Account
    return int(account().fordblks)


def _release() -> None:
    ctypes.CDLL(None).malloc_trim(_STEP)  # it is where mallinfo2 is


LEFTOVERS = Leftovers()
"""Of this process."""
