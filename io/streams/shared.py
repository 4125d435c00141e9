"""What the instances of a stage in one process share."""

from __future__ import annotations

import threading

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

    def with_all(self, heard: Heard) -> Heard:
        """What was heard here or there: of each reader the notice that reaches furthest."""
        for reader, notice in self._heard.notices.items():
            if reader not in heard.notices or _reach(notice) > _reach(heard.notices[reader]):
                heard.hear(notice)
        self._heard = heard
        return heard


def _reach(notice: Notice) -> tuple[int, int]:
    return notice.clock, sum(part.next for part in notice.partitions)


def with_notice(former: bytes | None, data: bytes) -> Heard:
    """What was heard before, as JSON, and one more notice."""
    heard = Heard()
    for notice in (*(_heard_list.decode(former) if former else ()), Notice.decode(data)):
        heard.hear(notice)
    return heard
