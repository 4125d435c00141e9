"""Records to readings and rejects: three stages in one call, for who does not put them into a pipeline singly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from telebeam.transforms.batches import concat
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import cleanse_spec
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.wire import SchemaOf
from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.rejects import rejects_of
from telebeam.transforms.schema import READINGS_IN_FLIGHT, REJECTS, conform


class Checked(NamedTuple):
    """What a batch of records gave; each value and each refused record is in one of the two."""

    readings: pa.RecordBatch
    """``READINGS_IN_FLIGHT``."""
    rejects: pa.RecordBatch
    """``REJECTS``."""


@dataclass(frozen=True)
class Checks:
    """Parse, cleanse and check quality, as the steps of those names do.

    Args:
        parse: What the payloads look like.
        quality: What counts as a good reading.
        schema_of: A registry's schemas by their ids; None where no registry is declared.
        known: What messages before have said, of formats that have a memory; nothing is kept without it.
    """

    parse: ParseSpec
    quality: QualitySpec
    schema_of: SchemaOf | None = None
    known: Known | None = None

    def with_memory(self) -> Checks:
        """The same with a memory of its own: for one reader, whose partitions' messages come in their order."""
        return replace(self, known=Known(self.schema_of))

    def __call__(self, records: pa.RecordBatch, now: int) -> Checked:
        """The readings and the rejects of a batch of ``ENVELOPES``, perhaps with ``content_type`` and ``published_at``.

        Args:
            records: The batch.
            now: µs since 1970: what ``future`` and ``too_old`` are measured by, and ``rejected_at``.

        Raises:
            SourceError: A schema registry is away.
        """
        parsed = parse(records, self.parse, now, self.known or Known(self.schema_of))
        readings, refused = check_quality(cleanse(parsed.readings, cleanse_spec(self.quality)), self.quality, now)
        rejects = [parsed.rejects, rejects_of(refused, now)] if refused.num_rows else [parsed.rejects]
        plain = [conform(batch, REJECTS) for batch in rejects]
        return Checked(conform(readings, READINGS_IN_FLIGHT), concat(plain))
