"""What every way out has in common: rows in, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pyarrow as pa

from telebeam.io.alerts.messages import Key
from telebeam.transforms.errors import TelebeamError


class Failed(NamedTuple):
    """A message that will never be taken."""

    key: Key
    reason: str


@dataclass(frozen=True)
class Sent:
    """What became of some rows; those that neither list names may be sent again.

    Args:
        delivered: What the target has; it may name more than was asked for, where the target had it before.
        failed: What it refuses for good.
        trouble: Why the others were not delivered; the same or others may be tried later.
        pause_seconds: How long the target asks to be left alone.
        positions: Of a log, such as a topic: partition → the offset before which everything is known.
    """

    delivered: tuple[Key, ...] = ()
    failed: tuple[Failed, ...] = ()
    trouble: TelebeamError | None = None
    pause_seconds: float = 0.0
    positions: dict[str, int] = field(default_factory=dict)


class Sender(Protocol):
    """A live connection to one target; it holds secrets, so it can be neither printed nor pickled."""

    at_once: int
    """Rows that are given to :meth:`send` at most: so many may be sent again after a kill."""

    def send(self, rows: pa.RecordBatch) -> Sent:
        """Sends the rows in their order; raises nothing that a target can cause."""

    def close(self) -> None:
        """Ends the connection; a second time does nothing."""
