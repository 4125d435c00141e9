"""What one configuration file says: the stages' settings put together."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from telebeam.io.alerts.spec import AlertSinkSpec, CommandSinkSpec, TaggedSinkSpec, check_sinks, check_tags
from telebeam.io.files.spec import FileSourceSpec
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.models.source import with_models
from telebeam.io.pubsub.spec import PubSubSourceSpec
from telebeam.io.streams.spec import TimeSpec
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.anomaly.spec import DetectorSpec, check_names
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.rules.spec import RuleSpec, check_rules, names_group
from telebeam.transforms.spec import Spec

SourceKind = Literal["parquet", "jsonl", "csv", "kafka", "pubsub"]
SOURCE_KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
STREAM_KINDS = frozenset({"kafka", "pubsub"})


class SourceSpec(Spec):
    """Where records come from: exactly one of ``parquet``, ``jsonl``, ``csv``, ``kafka`` and ``pubsub``."""

    parquet: FileSourceSpec | None = None
    """A Parquet archive, in our columns or mapped by ``parse.fields``."""
    jsonl: FileSourceSpec | None = None
    """Text files of one JSON value a line."""
    csv: FileSourceSpec | None = None
    """Text files of comma-separated values with a header line."""
    kafka: KafkaSourceSpec | None = None
    """Topics of a Kafka cluster: a stream."""
    pubsub: PubSubSourceSpec | None = None
    """A Pub/Sub subscription: a stream."""
    on_bad_file: Literal["fail", "reject"] = "fail"
    """What an unreadable file does: stop the job, or become one reject (``bad_file``) while the rest goes on."""

    @model_validator(mode="after")
    def _exactly_one(self) -> SourceSpec:
        given = [kind for kind in SOURCE_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(f"{found}; expected exactly one of {', '.join(SOURCE_KINDS)}")
        return self

    @property
    def kind(self) -> SourceKind:
        """Which of the kinds is given."""
        return next(kind for kind in SOURCE_KINDS if getattr(self, kind) is not None)

    @property
    def files(self) -> FileSourceSpec:
        """The settings of the archive that is given.

        Raises:
            ValueError: The source is a stream.
        """
        spec = getattr(self, self.kind)
        if not isinstance(spec, FileSourceSpec):
            raise ValueError(f"source.{self.kind} is no archive")
        return spec

    @property
    def is_stream(self) -> bool:
        """Whether it has no end of its own."""
        return self.kind in STREAM_KINDS

    @property
    def natural_mode(self) -> Literal["batch", "stream"]:
        """How it is run where nobody says: what ends is a batch."""
        return "stream" if self.is_stream else "batch"

    @property
    def words(self) -> str:
        """What it is called in messages."""
        if self.kafka is not None:
            return f"{', '.join(self.kafka.topics)} at {self.kafka.bootstrap_servers}"
        return self.pubsub.subscription if self.pubsub is not None else self.files.path


class SinksSpec(Spec):
    """Where results go: at least one of ``lake`` and ``influxdb``."""

    lake: LakeSpec | None = None
    """A data lake of Parquet files: readings, windows, rejects and quality."""
    influxdb: InfluxSpec | None = None
    """An InfluxDB 2 bucket for dashboards."""
    alerts: tuple[AlertSinkSpec, ...] = ()
    """Where a streaming job sends alerts; a batch job files them and sends none."""
    commands: tuple[CommandSinkSpec, ...] = ()
    """Where a streaming job sends the commands that rules give."""
    tagged: tuple[TaggedSinkSpec, ...] = ()
    """Where a streaming job sends the readings that rules tag."""

    @field_validator("alerts", "commands", "tagged")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        check_sinks(value)
        return value

    @model_validator(mode="after")
    def _at_least_one(self) -> SinksSpec:
        if self.lake is None and self.influxdb is None:
            raise ValueError("found none; expected at least one of lake, influxdb")
        return self


class PipelineSpec(Spec):
    """A whole pipeline: everything that one configuration file says."""

    pipeline: str
    """The pipeline's name: 1 to 64 letters, digits, ``-`` and ``_``."""
    source: SourceSpec
    """Where records come from."""
    parse: ParseSpec = ParseSpec()
    """How records become readings."""
    devices: DevicesSpec | None = None
    """What is known of devices: whose and where they are, and how their payloads are read; see docs/devices.md."""
    quality: QualitySpec = QualitySpec()
    """What counts as a good reading."""
    all_windows: tuple[WindowSpec, ...] = Field((WindowSpec(every=timedelta(minutes=1)),), alias="windows")
    """Which windows are computed; none for an empty list."""
    anomalies: tuple[DetectorSpec, ...] = ()
    """What scores readings; see docs/anomalies.md."""
    rules: tuple[RuleSpec, ...] = ()
    """What raises alerts; see docs/rules.md."""
    sinks: SinksSpec
    """Where results go."""
    time: TimeSpec = TimeSpec()
    """When a stream takes time for past."""

    @model_validator(mode="after")
    def _filed_first(self) -> PipelineSpec:
        if self.source.is_stream and self.sinks.lake is None:
            raise ValueError(
                "a stream needs sinks.lake: what is filed there is what counts as read",
                "add sinks: {lake: {path: lake}}; InfluxDB may stand beside it",
            )
        return self

    @model_validator(mode="after")
    def _devices_known(self) -> PipelineSpec:
        if self.devices is not None and self.devices.registry is None:
            raise ValueError(
                "devices without devices.registry: it says which devices there are, and of which type",
                "add registry: devices.yaml; docs/devices.md says what the file holds",
            )
        if self.devices is None and any(window.grouping == "group" for window in self.all_windows):
            raise ValueError(
                "windows grouped by group need devices: the registry says which device is in which group",
                "add devices: {registry: devices.yaml}, or group by location",
            )
        if self.parse.format == "lorawan" and self.devices is None:
            raise ValueError(
                "parse.format: lorawan needs devices: their types say how the bytes of an uplink are read",
                "add devices: {registry: devices.yaml, types: {…: {codec: cayenne_lpp}}}; see docs/codecs.md",
            )
        return self

    @model_validator(mode="after")
    def _rules_fit(self) -> PipelineSpec:
        check_names(self.anomalies)
        check_rules(self.rules, [spec.label for spec in self.anomalies])
        check_tags(self.sinks.tagged, {action.tag for rule in self.rules for action in rule.then if action.tag})
        if (self.anomalies or self.rules or self.last) and self.sinks.lake is None:
            raise ValueError(
                "anomalies, rules and windows of the last readings need sinks.lake: readings are put in order there",
                "add sinks: {lake: {path: lake}}; InfluxDB may stand beside it",
            )
        return self

    @property
    def windows(self) -> tuple[WindowSpec, ...]:
        """The windows that are spans of time."""
        return tuple(window for window in self.all_windows if window.last is None)

    @property
    def last(self) -> tuple[int, ...]:
        """Of how many last readings there are statistics, ascending."""
        return tuple(sorted(window.last for window in self.all_windows if window.last is not None))

    @property
    def order(self) -> OrderSpec | None:
        """What is done in the order of event time, where anything is."""
        if self.sinks.lake is None or not (self.anomalies or self.rules or self.last):
            return None
        return OrderSpec(self.pipeline, with_models(self.anomalies, self.sinks.lake.path), self.rules, self.last)

    @property
    def stream_lake(self) -> LakeSpec:
        """The lake, which a stream always has."""
        if self.sinks.lake is None:
            raise ValueError("a stream without a lake")
        return self.sinks.lake

    @field_validator("pipeline")
    @classmethod
    def _named(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
            raise ValueError(f"{value!r} is not a pipeline's name; expected 1 to 64 letters, digits, - and _")
        return value

    @field_validator("rules")
    @classmethod
    def _groups_known(cls, value: tuple[RuleSpec, ...], info: ValidationInfo) -> tuple[RuleSpec, ...]:
        # Devices that are wrong themselves are not among the data: that is said of them.
        if info.data.get("devices", True) is None and names_group(value):
            raise ValueError(
                f"rule {next(rule.name for rule in value if rule.names_group)} names groups, which need devices: "
                "the registry says which device is in which group",
                "add devices: {registry: devices.yaml}, or name locations",
            )
        return value

    @field_validator("parse", "quality", "time", mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        # A section whose every line is commented out reads as null.
        return {} if value is None else value

    @field_validator("all_windows")
    @classmethod
    def _each_once(cls, value: tuple[WindowSpec, ...]) -> tuple[WindowSpec, ...]:
        seen: set[str] = set()
        for window in value:
            name = f"{window.seconds} s" if window.last is None else f"the last {window.last} readings"
            if name in seen:
                raise ValueError(f"two windows of {name}; expected each length once")
            seen.add(name)
        return value
