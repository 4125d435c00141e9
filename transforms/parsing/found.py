"""What a format is given, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import constant
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.parsing.assemble import Columns
from telebeam.transforms.parsing.births import Births
from telebeam.transforms.parsing.learned import Learned
from telebeam.transforms.parsing.nodes import Group
from telebeam.transforms.parsing.records import Records, RefusedRecord
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.wire import SchemaOf
from telebeam.transforms.schema import TIMESTAMP

NO_TIME = int(np.iinfo(np.int64).min)
"""In a column of microseconds: there is none."""


@dataclass
class Known:
    """What parsing knows from elsewhere, and from the messages before.

    Args:
        schema_of: A registry's schemas by their ids; None where no registry is declared.
        births: What the edge nodes of Sparkplug have said of themselves; is added to.
        json: How records were written; is added to.
    """

    schema_of: SchemaOf | None = None
    births: Births = field(default_factory=Births)
    json: Learned = field(default_factory=Learned)


@dataclass(frozen=True)
class Messages:
    """Messages of one format, as a source delivered them.

    Args:
        payloads: large_binary[n] without nulls, out of their compression.
        keys: string[n]: their keys or topics.
        published: int64[n]: when the broker took them, µs since the epoch, or :data:`NO_TIME`.
        spec: What the payloads look like.
        known: What else is known.
        fleet: What is known of devices, where a registry of them is declared.
    """

    payloads: pa.LargeBinaryArray
    keys: pa.Array
    published: npt.NDArray[np.int64]
    spec: ParseSpec
    known: Known
    fleet: Fleet | None = None

    def __len__(self) -> int:
        return len(self.payloads)

    def take(self, rows: npt.NDArray[np.int64]) -> Messages:
        """Those at the given places."""
        places = pa.array(rows)
        columns = (self.payloads.take(places), self.keys.take(places), self.published[rows])
        return Messages(*columns, self.spec, self.known, self.fleet)


class Found(NamedTuple):
    """What a format finds in payloads."""

    records: Records
    """The records, and the payload that each came in."""
    groups: list[Group]
    """Those of them that can be read; their rows count from the first record."""
    refused: list[tuple[int, RefusedRecord]]
    """Those of them that can't, by row."""
    decoded: tuple[Columns, ...] = ()
    """Readings that need no assembling; their rows count from the first record."""


def messages_of(batch: pa.RecordBatch, spec: ParseSpec, known: Known, fleet: Fleet | None) -> Messages:
    """A batch of ``ENVELOPES`` as messages; its columns ``key`` and ``published_at`` may be absent."""
    payloads = batch.column("payload").cast(pa.large_binary())
    if payloads.null_count:
        payloads = payloads.fill_null(b"")
    names = batch.schema.names
    keys = batch.column("key") if "key" in names else constant(None, batch.num_rows)
    published = np.full(batch.num_rows, NO_TIME)
    if "published_at" in names:
        micros = batch.column("published_at").cast(TIMESTAMP).cast(pa.int64())
        published = micros.fill_null(NO_TIME).to_numpy(zero_copy_only=False)
    return Messages(payloads, keys, published, spec, known, fleet)
