import pyarrow as pa

from telebeam.transforms.batches import constant
from telebeam.transforms.coders import RecordBatchCoder

BATCH = pa.RecordBatch.from_arrays([constant("a", 3), pa.array([1.0, None, 3.0])], names=["text", "number"])


def test_a_batch_travels_with_its_schemas_metadata():
    batch = BATCH.replace_schema_metadata({b"telebeam.unit": b"u"})
    arrived = RecordBatchCoder().decode(RecordBatchCoder().encode(batch))
    assert arrived.equals(batch, check_metadata=True)


def test_beam_learns_a_batchs_size_without_encoding_it():
    class Refusing(RecordBatchCoder):
        def encode(self, value: pa.RecordBatch) -> bytes:
            raise AssertionError("encoded")

    assert Refusing().get_impl().estimate_size(BATCH) == BATCH.get_total_buffer_size()
