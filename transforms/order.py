"""What is done in the order of event time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa

from telebeam.transforms.anomaly.spec import DetectorSpec, TrainedModel
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.devices.kernel import groups_of, types_of
from telebeam.transforms.devices.limits import DEVICE_TYPE
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.rules.spec import GROUP, RuleSpec, names_group


class Look(NamedTuple):
    """What one snapshot of the registry says of readings, as far as it is asked."""

    registry: Registry | None
    """None where nothing is asked of it."""
    groups: bool
    """Whether groups are."""
    types: bool
    """Whether device types are."""

    def with_group(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Readings or scores, where groups are asked for with each row's group at its time; null for none."""
        if self.registry is None or not self.groups:
            return rows
        return rows.append_column(GROUP, groups_of(rows, self.registry))

    def with_type(self, readings: pa.RecordBatch) -> pa.RecordBatch:
        """Readings, where types are asked for with each one's device type at its time; null for none."""
        if self.registry is None or not self.types:
            return readings
        return readings.append_column(DEVICE_TYPE, types_of(readings, self.registry))


@dataclass(frozen=True)
class OrderSpec:
    """Detectors, rules and last readings of a pipeline.

    Args:
        pipeline: Whose.
        detectors: That score readings.
        rules: Over readings and scores.
        last: Of how many last readings of a series there are statistics; ascending, none twice.
        fleet_of: Gives the registry, for rules that name groups and models by device type; None where there is none.
    """

    pipeline: str
    detectors: tuple[DetectorSpec, ...]
    rules: tuple[RuleSpec, ...]
    last: tuple[int, ...] = ()
    fleet_of: FleetOf | None = field(default=None, compare=False, repr=False)

    def with_fleet(self, fleet_of: FleetOf | None) -> OrderSpec:
        """The same, with what gives the registry."""
        return replace(self, fleet_of=fleet_of)

    def look(self) -> Look:
        """The registry as it is now: one snapshot for all that is made of a piece of time.

        Raises:
            ConfigurationError: Its file can't be read for the first time, or what it holds is wrong.
        """
        groups = names_group(self.rules)
        types = any(isinstance(spec, TrainedModel) for spec in self.detectors)
        asked = self.fleet_of is not None and (groups or types)
        return Look(self.fleet_of().registry if asked and self.fleet_of is not None else None, groups, types)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that rules give to readings."""
        found = (action.tag for rule in self.rules for action in rule.then if action.tag is not None)
        return tuple(dict.fromkeys(found))

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits: what is remembered is of these settings and of no others.

        The registry is not among them: what is remembered follows from readings.
        """
        said = [spec.model_dump_json() for spec in (*self.detectors, *self.rules)]
        said += [f"last {number}" for number in self.last]
        return hashlib.blake2b("\n".join(said).encode(), digest_size=6).hexdigest()
