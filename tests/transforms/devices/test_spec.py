"""What a configuration may say of devices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from telebeam.transforms.devices.spec import DevicesSpec

FULL = {
    "registry": "fleet.yaml",
    "unknown": "flag",
    "refresh": "30s",
    "types": {"meter": {"schema": "m.json", "codec": "m.js", "interval": "60s", "limits": {"Voltage": {"max": 5}}}},
}


def test_everything_that_is_documented_can_be_given():
    spec = DevicesSpec.model_validate(FULL)
    meter = spec.types["meter"]
    assert (meter.data_schema, meter.codec, meter.interval) == ("m.json", "m.js", timedelta(seconds=60))
    assert meter.limits["voltage"].max == 5
    assert DevicesSpec.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize(
    "given",
    [
        {"unknown": "drop"},
        {"registry": ""},
        {"refresh": "0s"},
        {"types": {"x": {"codec": "lpp"}}},
        {"types": {"x": {"codec": ".js"}}},
        {"types": {"x": {"interval": 0}}},
        {"types": {"x": {"limits": {"": {}}}}},
        {"types": {"x": {"shape": "y"}}},
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any]):
    with pytest.raises(ValueError, match="validation error"):
        DevicesSpec.model_validate(given)
