from datetime import UTC, datetime

import pytest

from telebeam.pipelines.simulation.spec import FAULTS, FaultSpec, parse_faults, simulation_spec
from telebeam.transforms.errors import ConfigurationError


def test_every_named_fault_gets_its_rate() -> None:
    rates = {name: (number + 1) / 1000 for number, name in enumerate(FAULTS)}
    assert parse_faults(", ".join(f"{name}={rate}" for name, rate in rates.items())) == FaultSpec(**rates)


def test_the_faults_are_those_of_the_spec() -> None:
    assert set(FAULTS) == set(FaultSpec.model_fields)


def test_no_text_has_no_faults() -> None:
    assert parse_faults("") == FaultSpec() == parse_faults(" , ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spkie=0.1", "did you mean spike?"),
        ("=0.1", "expected one of"),
        ("spike=1.5", "from 0 to 1"),
        ("spike=-0.1", "from 0 to 1"),
        ("spike=nan", "from 0 to 1"),
        ("spike=often", "from 0 to 1"),
        ("spike", "from 0 to 1"),
        ("spike=0.1,spike=0.2", "given twice"),
        ("late=0.6,duplicate=0.6", "add up to 1.2"),
    ],
)
def test_wrong_faults_are_refused_with_a_hint(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        parse_faults(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"devices": 0}, "devices: 0"),
        ({"devices": 3, "profile": "home"}, "exclude each other"),
        ({"profile": "castle"}, "home"),
        ({"interval": "0s"}, "whole milliseconds"),
        ({"interval": 0.0005}, "whole milliseconds"),
        ({"interval": "soon"}, "not a duration"),
        ({"interval": "1h", "duration": "1m"}, "shorter than the interval"),
        ({"start": datetime(2026, 1, 1)}, "zone"),
        ({"start": datetime(1960, 1, 1, tzinfo=UTC)}, "1970"),
        ({"seed": -1}, "seed"),
        ({"shape": "round"}, "reading"),
        ({"device": 3}, "did you mean devices?"),
        ({"files": 0}, "files"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        simulation_spec(**settings)


def test_absent_settings_have_a_fixed_default() -> None:
    spec = simulation_spec(devices=None, start=None)
    assert (spec.profile, spec.start) == ("home", datetime(2026, 1, 1, tzinfo=UTC))
