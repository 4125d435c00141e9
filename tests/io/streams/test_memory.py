"""Memory is kept for the next batch, and given back where it is much."""

from __future__ import annotations

import pytest

from telebeam.io.streams import memory
from telebeam.io.streams.memory import MUCH_UNUSED, RELEASE_SECONDS, Leftovers, keep_memory


class Now:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_memory_is_kept_or_left_as_it_is():
    assert keep_memory() in (True, False)
    assert keep_memory() == keep_memory()


def test_much_that_is_unused_is_given_back_now_and_then():
    now, released = Now(), list[float]()
    left = Leftovers(lambda: MUCH_UNUSED, lambda: released.append(now.seconds), now)
    given = []
    for second in range(0, 300, 5):
        now.seconds = 100.0 + second
        given.append(left.release())
    assert released == [100.0 + RELEASE_SECONDS * n for n in range(1, 30)]
    assert sum(given) == len(released)


@pytest.mark.parametrize("unused", [None, 0, MUCH_UNUSED - 1])
def test_little_or_what_nobody_knows_of_is_left(unused: int | None):
    now = Now()
    left = Leftovers(lambda: unused, lambda: pytest.fail("released"), now)
    now.seconds += RELEASE_SECONDS
    assert not left.release()


def test_the_c_library_tells_what_is_unused_and_takes_it_back(monkeypatch: pytest.MonkeyPatch):
    if memory._unused() is None:
        pytest.skip("a C library that does not tell")
    now = Now()
    left = Leftovers(clock=now)
    monkeypatch.setattr(memory, "MUCH_UNUSED", 0)
    now.seconds += RELEASE_SECONDS
    assert left.release()
