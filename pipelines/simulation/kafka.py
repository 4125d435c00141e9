"""Runs a simulation into a Kafka topic: as fast as it goes, at a rate, or live."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from telebeam.io.kafka.acknowledged import AcknowledgedFile
from telebeam.io.kafka.producer import KafkaWriter, ensure_topic
from telebeam.io.kafka.spec import KafkaSinkSpec
from telebeam.pipelines.simulation.fleet import Fleet, Ints, build_fleet
from telebeam.pipelines.simulation.generation import TEXT_CHUNK_ROWS, generate
from telebeam.pipelines.simulation.pace import Pace, live_spec
from telebeam.pipelines.simulation.payloads import Payloads
from telebeam.pipelines.simulation.rows import Record, Rows
from telebeam.pipelines.simulation.spec import SimulationSpec
from telebeam.pipelines.simulation.tally import Tally
from telebeam.pipelines.simulation.truth import Truth, as_lines
from telebeam.pipelines.simulation.writers import Target

PARTITIONS = 4
"""Of a topic that is not there yet."""

_SLOT_SECONDS = 0.02
"""Readings that are due within one slot are sent together."""


@dataclass
class KafkaRun:
    """One simulation into one topic.

    Args:
        spec: What is simulated.
        target: The topic.
        pace: How fast.
        acknowledged: A file that gets each message that the brokers have: topic, partition, offset and payload.
    """

    spec: SimulationSpec
    target: Target
    pace: Pace
    acknowledged: Path | None = None

    def __post_init__(self) -> None:
        """Finds the fleet, and what is due when."""
        sensors = build_fleet(self.spec).rows
        self.spec = live_spec(self.spec, self.pace, sensors)
        self.fleet: Fleet = build_fleet(self.spec)
        self.tally = Tally()
        self.bytes = 0
        self._payloads = Payloads(self.fleet)
        self._truth = Truth(self.spec, self.fleet, self.target.malformed)
        self._began = 0.0
        self._sent = 0

    def run(self, progress: Callable[[int], None]) -> int:
        """Sends everything and writes the labels; returns how many records the brokers acknowledged.

        Raises:
            SinkError: The broker does not take them, or the disk does not take the labels.
        """
        sink = KafkaSinkSpec(bootstrap_servers=self.target.servers, topic=self.target.path.name)
        ensure_topic(sink, PARTITIONS)
        if self.acknowledged is None:
            writer = KafkaWriter(sink.bootstrap_servers, sink.config)
            self._send(writer, progress)
            return self.tally.records
        with AcknowledgedFile(self.acknowledged) as file:
            self._send(KafkaWriter(sink.bootstrap_servers, sink.config, file.add), progress)
        return file.count

    def _send(self, writer: KafkaWriter, progress: Callable[[int], None]) -> None:
        topic = self.target.path.name
        place = self.target.truth
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", suffix=".partial", dir=place.parent) as folder:
            partial = Path(folder) / place.name
            try:
                with partial.open("wb") as labels:
                    for rows in self.timed(labels.write):
                        self._write(writer, rows, topic)
                        progress(len(rows))
                writer.flush()
            finally:
                writer.close()
            os.replace(partial, place)

    def _write(self, writer: KafkaWriter, rows: Rows, topic: str) -> None:
        payloads = [line[:-1] for line in self._payloads.lines(rows).to_pylist()]
        devices = self.fleet.device_ids.take(self.fleet.device[rows.row[rows.first]])
        writer.write(topic, payloads, map(str.encode, devices.to_pylist()))
        writer.serve()
        self.bytes += sum(map(len, payloads))

    def timed(self, label: Callable[[bytes], Any]) -> Iterator[Rows]:
        """The readings, each when it is due; a record's are not cut apart.

        Args:
            label: Gets the labels of what was handed out, as JSON lines.
        """
        self._began = self.pace.now()
        chunk_rows = self.fleet.rows if self.pace.live else TEXT_CHUNK_ROWS
        for chunk in generate(self.spec, self.fleet, chunk_rows):
            self._truth.add_episodes(chunk.episodes)
            for rows in self._pieces(chunk.rows):
                self._truth.add_rows(rows, self.target.path.name, self.tally.records)
                self.tally.add(rows)
                yield rows
            found = self._truth.take()
            self.tally.faults.update(it.fault for it in found)
            label(as_lines(found))

    def _pieces(self, rows: Rows) -> Iterator[Rows]:
        due = self._due_seconds(rows)
        if due is None:
            yield rows
            return
        first = 0
        while first < len(rows):
            wait = float(due[first]) - self.pace.now()
            if wait > 0:
                self.pace.sleep(wait + _SLOT_SECONDS)
            # A record's readings are due together, so none is cut apart.
            end = int(np.searchsorted(due, max(self.pace.now(), float(due[first])), side="right"))
            yield rows.take(slice(first, end))
            first = end

    def _due_seconds(self, rows: Rows) -> Any:
        """When each reading is to be sent, ascending; None where it does not matter."""
        if self.pace.live:
            return np.maximum.accumulate(self._arrival_ms(rows)) / 1000
        if self.pace.rate is None:
            return None
        number = self._sent + np.arange(len(rows))
        self._sent += len(rows)
        return self._began + number[np.flatnonzero(rows.first)[np.cumsum(rows.first) - 1]] / self.pace.rate

    def _arrival_ms(self, rows: Rows) -> Ints:
        """When a reading arrives: at its own time, unless it claims another or was held up."""
        moved = (rows.record == Record.FUTURE) | (rows.record == Record.LATE) | (rows.record == Record.DUPLICATE)
        tick, row = np.divmod(rows.key, self.fleet.rows)
        by_key = self.spec.start_ms + tick * self.spec.interval_ms + self.fleet.phase_ms[self.fleet.device[row]]
        # What is held up beyond the end is sent at the end, not ten minutes later.
        by_key = np.minimum(by_key, self.spec.start_ms + self.spec.ticks * self.spec.interval_ms)
        return np.where(moved, by_key, rows.timestamp_ms)
