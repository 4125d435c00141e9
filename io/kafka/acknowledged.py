"""What the brokers have acknowledged, as a file that a checker reads."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, Message

from telebeam.transforms.errors import SinkError

ACKNOWLEDGED = pa.schema([
    pa.field("topic", pa.string(), nullable=False),
    pa.field("partition", pa.int32(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("payload", pa.large_binary(), nullable=False),
])  # fmt: skip

_HELD_MESSAGES = 20_000
_HELD_SECONDS = 0.5


class AcknowledgedFile:
    """An Arrow IPC stream of :data:`ACKNOWLEDGED`, readable up to its last batch when its writer was killed.

    Args:
        path: The file; what stood there is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[tuple[str, int, int, bytes]] = []
        self._since = time.monotonic()
        self.count = 0
        """Messages that are acknowledged."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: Any = path.open("wb")
        except OSError as error:
            raise SinkError(f"{path} can't be written: {error}") from error
        self._writer = pa.ipc.new_stream(self._file, ACKNOWLEDGED)

    def __enter__(self) -> AcknowledgedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._writer.close()
        self._file.close()

    def add(self, error: KafkaError | None, message: Message) -> None:
        """Takes a delivery report."""
        if error is not None:
            return
        self.count += 1
        self._held.append((
            message.topic() or "", message.partition() or 0, message.offset() or 0, message.value() or b""
        ))  # fmt: skip
        if len(self._held) >= _HELD_MESSAGES or time.monotonic() - self._since > _HELD_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self._since = time.monotonic()
        if not self._held:
            return
        columns = zip(*self._held, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, ACKNOWLEDGED, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=ACKNOWLEDGED))
        self._file.flush()
        self._held = []
