"""What the instances of a stage in one process share."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec

from telebeam.io.streams.notices import Heard, Notice

_heard_list = msgspec.json.Decoder(list[Notice])


class Shared:
    """What the instances of a stage in this process have heard of a length; one of them works on it at a time.

    A runner owes this to stages with state.  Prism 2.77 was seen to run bundles of one key side by side when notices
    come faster than they are worked on: each with the state of before, so that none had heard all readers, and two
    filed the same windows with the same revision.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard = Heard()

    def __enter__(self) -> Shared:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def with_all(self, heard: Heard, others: Iterable[Notice] = ()) -> Heard:
        """What was heard here or there, or is told: of each reader the notice that reaches furthest."""
        for notice in (*self._heard.notices.values(), *others):
            if notice.reader not in heard.notices or _reach(notice) > _reach(heard.notices[notice.reader]):
                heard.hear(notice)
        self._heard = heard
        return heard


def tell(run: str, notice: Notice) -> None:
    """Says to the stages of a run in this process what a reader of it has filed: sooner than the runner does.

    What a notice says stands in the lake, so that it is as true before the runner has committed the bundle as after.
    """
    with _GUARD:
        _TOLD.setdefault(run, {})[notice.reader] = notice


def told(run: str) -> list[Notice]:
    """The last notice of each reader of a run in this process."""
    with _GUARD:
        return list(_TOLD.get(run, {}).values())


_GUARD = threading.Lock()
_TOLD: dict[str, dict[int, Notice]] = {}
"""By run and reader."""


def _reach(notice: Notice) -> tuple[int, int]:
    return notice.clock, sum(part.next for part in notice.partitions)


def with_notice(former: bytes | None, data: bytes) -> Heard:
    """What was heard before, as JSON, and one more notice."""
    heard = Heard()
    for notice in (*(_heard_list.decode(former) if former else ()), Notice.decode(data)):
        heard.hear(notice)
    return heard
