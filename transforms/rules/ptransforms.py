"""Rules as a step of a pipeline, for archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms import coders  # noqa: F401 - registers the coder of RecordBatches
from telebeam.transforms.batches import concat
from telebeam.transforms.metrics import measured
from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.spec import GROUP, RuleSpec, check_rules
from telebeam.transforms.schema import READINGS, SCORES, TEXT, conform


@dataclass
class EvaluateRules(beam.PTransform):
    """Alerts and commands of an archive's readings; see :class:`~.kernel.RuleBook`.

    Takes a dict of bounded collections: ``readings`` of batches of ``READINGS_IN_FLIGHT`` and, if rules ask for them,
    ``scores`` of ``SCORES_IN_FLIGHT``, both with a column ``group`` where rules name groups.  Gives two collections:
    ``alerts`` (``ALERTS``) and ``commands`` (``COMMANDS``).
    A tenant's readings are put into the order of time on one worker, in its memory: jobs with a lake give it to a
    :class:`~.kernel.RuleBook` hour by hour instead.  Rows may come in any order; time is decided up to ``until``.

    Metrics: ``alerts``.

    Args:
        rules: The rules.
        until: The end of the time, in µs since 1970.
    """

    rules: tuple[RuleSpec, ...]
    until: int

    def __post_init__(self) -> None:
        check_rules(self.rules)

    def expand(self, collections: Any) -> Any:
        """The two collections, by name."""
        keyed = {
            name: batches | f"ByTenant_{name}" >> beam.FlatMap(_by_tenant) for name, batches in collections.items()
        }
        step = beam.FlatMap(_evaluate, self.rules, self.until).with_output_types(pa.RecordBatch)
        return keyed | beam.CoGroupByKey() | "Evaluate" >> step.with_outputs("commands", main="alerts")


def _by_tenant(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    schema = SCORES if "anomaly_score" in batch.schema.names else READINGS
    groups = [pa.field(GROUP, TEXT)] if GROUP in batch.schema.names else []
    plain = conform(batch, pa.schema([*schema, *groups]))
    for tenant in plain.column("tenant").unique().to_pylist():
        yield tenant, plain.filter(pc.equal(plain.column("tenant"), tenant))


def _evaluate(
    keyed: tuple[str, dict[str, Iterable[pa.RecordBatch]]], rules: tuple[RuleSpec, ...], until: int
) -> Iterator[Any]:
    batches = {name: list(found) for name, found in keyed[1].items()}
    readings = concat(batches["readings"]) if batches.get("readings") else _none(READINGS)
    scores = concat(batches["scores"]) if batches.get("scores") else None
    evaluated = RuleBook(rules).evaluate(readings, scores, until)
    measured("alerts", evaluated.alerts.num_rows)
    yield evaluated.alerts
    yield beam.pvalue.TaggedOutput("commands", evaluated.commands)


def _none(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
