import numpy as np
import pytest

from telebeam.pipelines.simulation import catalog
from telebeam.pipelines.simulation.fleet import GROUPED, SENSORS, build_fleet
from telebeam.pipelines.simulation.rows import Kind, Point, Record
from telebeam.pipelines.simulation.spec import EPISODE_FAULTS, POINT_FAULTS, RECORD_FAULTS, simulation_spec
from telebeam.transforms.quality.spec import DEFAULT_LIMITS


@pytest.mark.parametrize(("profile", "devices"), [("home", 9), ("office", 16), ("factory", 30)])
def test_a_profile_has_its_size(profile: str, devices: int) -> None:
    assert build_fleet(simulation_spec(profile=profile)).devices == devices


@pytest.mark.parametrize(
    "settings", [{"profile": "home"}, {"profile": "office"}, {"profile": "factory"}, {"devices": 9999}]
)
def test_every_device_has_an_id_of_its_own_and_several_sensors_of_different_types(settings: dict[str, object]) -> None:
    fleet = build_fleet(simulation_spec(**settings))
    assert len(fleet.device_ids.unique()) == fleet.devices
    assert np.diff(fleet.first_row).min() >= 2
    pairs = {(d, SENSORS[s].sensor_type) for d, s in zip(fleet.device.tolist(), fleet.sensor.tolist(), strict=True)}
    assert len(pairs) == fleet.rows
    assert {SENSORS[s].sensor_type for s in fleet.sensor.tolist()} == set(catalog.SENSOR_TYPES)


def test_devices_stand_in_the_order_of_their_phases() -> None:
    spec = simulation_spec(devices=500, interval="10s")
    phase = build_fleet(spec).phase_ms
    assert (np.diff(phase) >= 0).all()
    assert 0 <= phase[0] < phase[-1] < 10_000


def test_measured_sensors_come_first_in_every_device_type() -> None:
    for kind in catalog.DEVICE_TYPES.values():
        measured = [sensor.kind == "measured" for sensor in kind.sensors]
        assert measured == sorted(measured, reverse=True)
        assert measured[0]


def test_mixed_units_occur_where_the_shape_carries_a_unit_and_nowhere_else() -> None:
    fleet = build_fleet(simulation_spec(devices=600, units="mixed", shape="mixed"))
    foreign = fleet.unit >= len(catalog.SENSOR_TYPES)
    grouped = np.isin(fleet.shape[fleet.device], GROUPED)
    assert not foreign[grouped].any()
    assert set(fleet.unit[~grouped].tolist()) == set(range(len(catalog.UNITS)))


def test_mixed_shapes_give_every_device_type_every_shape() -> None:
    fleet = build_fleet(simulation_spec(devices=600, shape="mixed"))
    pairs = set(zip(fleet.sensor.tolist(), fleet.shape[fleet.device].tolist(), strict=True))
    assert len(pairs) == 4 * len(set(fleet.sensor.tolist()))


def test_the_canonical_unit_of_a_limited_type_is_that_of_its_limit() -> None:
    canonical = {unit.sensor_type: unit.name for unit in reversed(catalog.UNITS)}
    assert {name: canonical[name] for name in DEFAULT_LIMITS} == {name: l.unit for name, l in DEFAULT_LIMITS.items()}  # noqa: E741
    assert all(unit.scale == 1 and unit.offset == 0 for unit in catalog.UNITS[: len(catalog.SENSOR_TYPES)])


def test_what_is_beyond_the_limits_is_refused_by_them() -> None:
    assert set(catalog.BEYOND_LIMITS) == set(DEFAULT_LIMITS)
    for name, (low, high) in catalog.BEYOND_LIMITS.items():
        assert low < (DEFAULT_LIMITS[name].min or 0)
        assert high > (DEFAULT_LIMITS[name].max or 0)


def test_the_codes_of_faults_are_their_names() -> None:
    assert [code.name.lower() for code in Point] == ["none", *POINT_FAULTS]
    assert [code.name.lower() for code in Record] == ["none", *RECORD_FAULTS]
    assert [code.name.lower() for code in Kind] == list(EPISODE_FAULTS)
