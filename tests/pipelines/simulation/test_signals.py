import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from telebeam.pipelines.simulation.fleet import SENSORS, build_fleet
from telebeam.pipelines.simulation.randomness import Stream, bell, bits, halves, uniform
from telebeam.pipelines.simulation.signals import Signals
from telebeam.pipelines.simulation.spec import simulation_spec

SPEC = simulation_spec(profile="factory", interval="10m", duration="3d")
FLEET = build_fleet(SPEC)
SIGNALS = Signals(FLEET, SPEC.start_ms, SPEC.interval_ms)


def _of(kind: str) -> np.ndarray:
    return np.array([SENSORS[s].kind == kind for s in FLEET.sensor])


@given(st.integers(0, 2**62), st.integers(0, 2**40), st.integers(1, 50), st.integers(0, 49))
def test_a_random_number_depends_on_its_position_alone(seed: int, start: int, count: int, skip: int) -> None:
    positions = np.arange(start, start + count)
    whole = bits(seed, Stream.NOISE, positions)
    assert (whole[skip:] == bits(seed, Stream.NOISE, positions[skip:])).all()
    assert not (whole == bits(seed + 1, Stream.NOISE, positions)).any()
    assert not (whole == bits(seed, Stream.POINT, positions)).any()


def test_random_numbers_are_uniform_and_noise_is_standard() -> None:
    random = bits(7, Stream.NOISE, np.arange(400_000))
    for numbers in (uniform(random), *halves(random)):
        counts, _ = np.histogram(numbers, bins=100, range=(0, 1))
        assert (((counts - 4000) ** 2) / 4000).sum() < 170  # chi-squared with 99 degrees of freedom: 1e-5
    noise = bell(random)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert np.abs(noise).max() < 3.47
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01


@given(st.integers(0, 10**7), st.integers(1, 40), st.integers(0, 60), st.integers(1, 20))
def test_a_block_holds_what_single_points_hold(tick: int, ticks: int, row: int, rows: int) -> None:
    block = SIGNALS.block(tick, ticks, row, row + rows)
    when, which = np.divmod(np.arange(ticks * rows), rows)
    assert (block.ravel() == SIGNALS.at(tick + when, row + which)).all()


def test_counters_only_grow() -> None:
    assert (np.diff(SIGNALS.block(0, 2000, 0, FLEET.rows)[:, _of("counter")], axis=0) > 0).all()


def test_motion_is_seen_or_not_and_more_by_day() -> None:
    values = SIGNALS.block(0, 144 * 20, 0, FLEET.rows)[:, _of("binary")]
    assert set(np.unique(values)) == {0.0, 1.0}
    hour = np.arange(len(values)) % 144 / 6
    assert values[(hour > 11) & (hour < 17)].mean() > 3 * values[(hour < 5)].mean()


def test_every_measured_sensor_is_warmest_at_two_in_the_afternoon_within_its_drift() -> None:
    outdoors = [
        i for i in range(FLEET.rows) if SENSORS[FLEET.sensor[i]].daily == 6.0 and SENSORS[FLEET.sensor[i]].base == 9.0
    ]
    days = SIGNALS.block(0, 144 * 9, outdoors[0], outdoors[0] + 1)[:, 0].reshape(9, 144).mean(axis=0)
    assert 13 <= days.argmax() / 6 <= 15
    assert days.max() - days.min() > 10


def test_devices_of_a_type_differ() -> None:
    machines = [i for i in range(FLEET.rows) if SENSORS[FLEET.sensor[i]].sensor_type == "vibration"]
    means = SIGNALS.block(0, 432, 0, FLEET.rows)[:, machines].mean(axis=0)
    assert len(np.unique(means.round(2))) > 5
