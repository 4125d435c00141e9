"""How RecordBatches travel between workers: Arrow's IPC stream, compressed; never pickle."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import Coder

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class RecordBatchCoder(Coder):
    """A batch with its schema, its schema's metadata and its dictionaries."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The batch as an IPC stream."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema, options=_OPTIONS) as writer:
            writer.write_batch(value)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch of an IPC stream."""
        with pa.ipc.open_stream(encoded) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """The batch's size in memory: Beam asks for it to count bytes, and would encode the batch to know."""
        size: int = value.get_total_buffer_size()
        return size

    def is_deterministic(self) -> bool:
        """Equal batches may have different dictionaries: not a key."""
        return False

    def to_type_hint(self) -> type:
        """What is coded."""
        return pa.RecordBatch


def register() -> None:
    """Makes the coder Beam's for RecordBatches; called where transforms are defined, and harmless twice."""
    beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)


register()
