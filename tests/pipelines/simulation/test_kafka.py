"""When what is sent to a topic, by a clock that the test moves."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from telebeam.pipelines.simulation.kafka import KafkaRun
from telebeam.pipelines.simulation.pace import Pace, live_spec
from telebeam.pipelines.simulation.rows import Record, Rows
from telebeam.pipelines.simulation.run import simulate
from telebeam.pipelines.simulation.spec import SimulationSpec, simulation_spec
from telebeam.pipelines.simulation.writers import parse_target
from telebeam.transforms.errors import ConfigurationError

NOW = datetime(2030, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC).timestamp()


@dataclass
class Clock:
    now: float = NOW
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def sent(spec: SimulationSpec, clock: Clock, **pace: object) -> list[tuple[float, Rows]]:
    run = KafkaRun(spec, parse_target("kafka:h:1/t"), Pace(now=lambda: clock.now, sleep=clock.sleep, **pace))
    return [(clock.now, rows) for rows in run.timed(lambda lines: None)]


def test_live_events_carry_the_present_time_and_none_is_sent_before_it():
    spec = simulation_spec(
        devices=20, interval="1s", duration="30s", shape="mixed", faults={"late": 0.1, "future": 0.1}
    )
    pieces = sent(spec, clock := Clock(), live=True)
    for at, rows in pieces:
        plain = rows.record == Record.NONE
        age = at - rows.timestamp_ms[plain] / 1000
        assert (age >= 0).all()
        assert (age < 0.1).all()
        assert rows.first[0]
    rows = Rows.concat([rows for _, rows in pieces])
    assert rows.timestamp_ms[rows.record == Record.NONE].min() >= NOW * 1000
    assert clock.now - NOW < 31


def test_a_rate_is_kept_and_events_carry_the_simulations_own_time():
    spec = simulation_spec(devices=50, interval="10s", duration="10m")
    pieces = sent(spec, clock := Clock(), rate=1000.0)
    rows = Rows.concat([rows for _, rows in pieces])
    assert abs(clock.now - NOW - len(rows) / 1000) < 0.1
    assert rows.timestamp_ms.max() < NOW * 1000


def test_a_live_rate_sets_the_interval():
    spec = simulation_spec(devices=100, interval="1ms", duration="10s")
    pieces = sent(spec, clock := Clock(), live=True, rate=2000.0)
    assert abs(sum(len(rows) for _, rows in pieces) - 20_000) < 400
    assert clock.now - NOW < 10.5


def test_without_a_pace_nothing_is_waited_for_and_all_is_sent():
    spec = simulation_spec(profile="home", interval="1m", duration="1h", faults={"late": 0.1, "duplicate": 0.1})
    pieces = sent(spec, clock := Clock())
    assert clock.slept == []
    assert np.count_nonzero(Rows.concat([rows for _, rows in pieces]).record == Record.DUPLICATE) > 10


@pytest.mark.parametrize("rate", [1e9, 0.001])
def test_a_rate_that_no_interval_gives_is_refused(rate: float):
    spec = simulation_spec(devices=10, interval="1ms", duration="10s")
    with pytest.raises(ConfigurationError, match="can't send"):
        live_spec(spec, Pace(live=True, rate=rate, now=lambda: NOW), 20)


def test_a_live_simulation_begins_at_a_whole_millisecond():
    spec = live_spec(simulation_spec(), Pace(live=True, now=lambda: NOW + 0.000_4), 20)
    assert spec.start - datetime.fromtimestamp(NOW, UTC) == timedelta(0)


def test_a_pace_goes_with_a_topic_only(tmp_path):
    with pytest.raises(ConfigurationError, match="go with kafka"):
        simulate(simulation_spec(), f"jsonl:{tmp_path}/a", pace=Pace(live=True))
