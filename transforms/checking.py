"""Records to readings and rejects: all checks in one call, for who does not put them into a pipeline singly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from telebeam.transforms.batches import concat
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import cleanse_spec
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.devices.kernel import enrich, quality_by_type
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.wire import SchemaOf
from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.rejects import rejects_of, with_message
from telebeam.transforms.schema import READINGS_IN_FLIGHT, REJECTS, conform

_NONE = pa.RecordBatch.from_pylist([], schema=REJECTS)


NUMBER = "number"
"""The column by which a reading is found again behind a step that drops or reorders some."""


class Checked(NamedTuple):
    """What a batch of records gave; each value and each refused record is in one of the two."""

    readings: pa.RecordBatch
    """``READINGS_IN_FLIGHT``."""
    rejects: pa.RecordBatch
    """``REJECTS``."""


class Step(NamedTuple):
    """What one step made of a batch: the readings that go on, and what is refused."""

    name: str
    readings: pa.RecordBatch
    rejects: pa.RecordBatch


@dataclass(frozen=True)
class Checks:
    """Parse, enrich, cleanse and check quality, as the steps of those names do.

    Args:
        parse: What the payloads look like.
        quality: What counts as a good reading.
        schema_of: A registry's schemas by their ids; None where no registry is declared.
        fleet_of: Gives what is known of devices; None where no registry of them is declared.
        known: What messages before have said, of formats that have a memory; nothing is kept without it.
    """

    parse: ParseSpec
    quality: QualitySpec
    schema_of: SchemaOf | None = None
    fleet_of: FleetOf | None = None
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
        steps = list(self.steps(records, now))
        rejects = [conform(step.rejects, REJECTS) for step in steps if step.rejects.num_rows]
        refused = with_message(concat(rejects), records) if rejects else _NONE
        return Checked(conform(steps[-1].readings, READINGS_IN_FLIGHT), refused)

    def steps(self, records: pa.RecordBatch, now: int, *, numbered: bool = False) -> Iterator[Step]:
        """What each step makes of a batch; arguments and errors as for a call.

        Args:
            records: The batch.
            now: The clock.
            numbered: Whether readings, and rejects behind the first step, have a column more, :data:`NUMBER`: the
                reading's place among those that were parsed.
        """
        fleet = None if self.fleet_of is None else self.fleet_of()
        readings, rejects = parse(records, self.parse, now, self.known or Known(self.schema_of), fleet)
        if numbered:
            readings = readings.append_column(NUMBER, pa.array(range(readings.num_rows), pa.int64()))
        yield Step("parse", readings, rejects)
        limits: Mapping[str, QualitySpec] = {}
        if fleet is not None:
            limits = quality_by_type(fleet.spec, self.quality)
            readings, refused = enrich(readings, fleet.registry, fleet.spec)
            yield Step("enrich", readings, _rejects(refused, now))
        units = {name: cleanse_spec(rules) for name, rules in limits.items()}
        readings = cleanse(readings, cleanse_spec(self.quality), units)
        yield Step("cleanse", readings, _NONE)
        readings, refused = check_quality(readings, self.quality, now, limits)
        yield Step("check quality", readings, _rejects(refused, now))


def _rejects(refused: pa.RecordBatch, now: int) -> pa.RecordBatch:
    if not refused.num_rows:
        return _NONE
    rejects = rejects_of(refused, now)
    return rejects.append_column(NUMBER, refused.column(NUMBER)) if NUMBER in refused.schema.names else rejects
