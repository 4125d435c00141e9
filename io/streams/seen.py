"""Which records were delivered already, where a broker has no offsets and delivers some of them again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.errors import SourceError

Numbers = npt.NDArray[np.int64]

LIMIT = 1_000_000
"""Ids: some 50 s at 20,000 records/s, 8 MB."""
SECONDS = 600.0
"""Ten minutes: as long as a lease may be extended at a time."""
_BLOCKS = 16
"""So many sorted blocks are searched, and some small ones; one block more than the limit may be remembered."""
_SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False)], {"telebeam.seen": "1"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_NEGATIVE = -(2**63)


def id_numbers(texts: Sequence[str]) -> Numbers:
    """Each id as a number: what is a decimal below 10**18 itself, all else a hash below 0.

    Equal ids are equal numbers; two others that are not are with a probability of 2**-63.

    >>> id_numbers(["17", "0", "017"])[:2].tolist()
    [17, 0]
    """
    return np.fromiter((_number(text) for text in texts), np.int64, len(texts))


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text):
        return int(text)
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 2**63 + _NEGATIVE


@dataclass(frozen=True)
class _Block:
    """Ids that came one after the other, between two times."""

    ids: Numbers
    in_order: Numbers  # the same ids, for the search
    first: float = 0.0
    last: float = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    def followed_by(self, other: _Block) -> _Block:
        both = np.concatenate([self.in_order, other.in_order])
        return _Block(np.concatenate([self.ids, other.ids]), np.sort(both, kind="stable"), self.first, other.last)

    def holds(self, ids: Numbers) -> npt.NDArray[np.bool_]:
        """Which of the ids, in ascending order, are here."""
        if not len(self) or ids[0] > self.in_order[-1] or ids[-1] < self.in_order[0]:
            return np.zeros(len(ids), bool)
        places = np.searchsorted(self.in_order, ids)
        found: npt.NDArray[np.bool_] = self.in_order[np.minimum(places, len(self) - 1)] == ids
        return found


class SeenIds:
    """The ids of the last records, at least ``limit`` of them unless they are too old, and a sixteenth more at most.

    Time away does not count: what :meth:`from_buffer` brings back is as old as the first ids that are added after it,
    and stays beside the ``limit``, for it is what a broker delivers again after a kill.

    >>> seen = SeenIds()
    >>> seen.add(np.array([7, 8]), at=0.0)
    >>> seen.known(np.array([8, 9])).tolist()
    [True, False]

    Args:
        limit: How many are remembered; at least 1.
        seconds: For how long; a sixteenth longer at most.
    """

    def __init__(self, limit: int = LIMIT, seconds: float = SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self._brought = _block(np.empty(0, np.int64), 0.0)  # by from_buffer
        self._brought_at: float | None = None
        self._blocks: list[_Block] = []  # from the oldest on

    def __len__(self) -> int:
        return len(self._brought) + sum(len(block) for block in self._blocks)

    def known(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """bool[n]: which of the ids were added, as far as is remembered."""
        mask = np.zeros(len(ids), bool)
        if len(ids):
            order = np.argsort(ids, kind="stable")
            ascending = ids[order]
            for block in (self._brought, *self._blocks):
                mask[order] |= block.holds(ascending)
        return mask

    def add(self, ids: npt.NDArray[np.int64], at: float) -> None:
        """Remembers the ids, and forgets others.

        Args:
            ids: int64[n], in the order in which they came.
            at: Seconds on any clock that does not go back.
        """
        if self._brought_at is None:
            self._brought_at = at
        size = max(1, self._limit // _BLOCKS)
        for start in range(0, len(ids), size):
            self._blocks.append(_block(ids[start : start + size], at))
            self._merge(size)
        self._forget(at - self._seconds)

    def _merge(self, size: int) -> None:
        """Makes the last blocks one while they are of about one size: each id is sorted some ten times in its life."""
        while len(self._blocks) > 1:
            older, newer = self._blocks[-2:]
            apart = newer.last - older.first > self._seconds / _BLOCKS
            if apart or len(older) > 2 * len(newer) or len(older) + len(newer) > size:
                return
            self._blocks[-2:] = [older.followed_by(newer)]

    def _forget(self, before: float) -> None:
        if self._brought_at is not None and self._brought_at < before:
            self._brought = _block(np.empty(0, np.int64), 0.0)
        excess = sum(len(block) for block in self._blocks) - self._limit
        while self._blocks and (self._blocks[0].last < before or len(self._blocks[0]) <= excess):
            excess -= len(self._blocks.pop(0))

    def to_buffer(self) -> pa.Buffer:
        """The last ``limit`` ids as an Arrow file."""
        ids = np.concatenate([block.ids for block in (self._brought, *self._blocks)])[-self._limit :]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays([pa.array(ids, pa.int64())], schema=_SCHEMA))
        return sink.getvalue()

    @classmethod
    def from_buffer(cls, buffer: pa.Buffer, limit: int = LIMIT, seconds: float = SECONDS) -> SeenIds:
        """What :meth:`to_buffer` wrote.

        Raises:
            SourceError: It is damaged or something else.
        """
        hint = "remove the file: records that were delivered before the last end may then be filed twice"
        try:
            with pa.ipc.open_file(buffer) as reader:
                if reader.schema != _SCHEMA or reader.schema.metadata != _SCHEMA.metadata:
                    raise SourceError(f"a file of ids has the columns {reader.schema.names}; expected id, int64", hint)
                table = reader.read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"a file of ids is damaged: {error}", hint) from error
        seen = cls(limit, seconds)
        seen._brought = _block(table.column("id").to_numpy()[-limit:], 0.0)
        return seen


def _block(ids: Numbers, at: float) -> _Block:
    copy = np.array(ids, np.int64)
    return _Block(copy, np.sort(copy), at, at)
