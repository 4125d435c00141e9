"""What a reader says at once knows the groups of devices, and says nothing of late readings."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from telebeam.io import storage
from telebeam.io.alerts.dispatcher import Dispatcher
from telebeam.io.alerts.messages import ALERT
from telebeam.io.alerts.spec import AlertSinkSpec
from telebeam.io.alerts.testing import WebhookServer
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.immediate import Immediate
from telebeam.transforms.anomaly.spec import TrainedModel
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.testing import readings

RULES = tuple(
    RuleSpec.model_validate(given)
    for given in (
        {"name": "north", "when": {"above": 80}, "only": {"groups": ["north"]}, "message": "{device_id} in {group}"},
        {"name": "slow", "when": {"above": 80}, "group_by": "group"},
    )
)
DEVICES = [
    {"device_id": "boiler-1", "group": "north", "status": "active"},
    {"device_id": "boiler-2", "group": "south", "status": "active"},
    {"device_id": "boiler-4", "group": "north", "status": "active"},
]
FLEET = Fleet(DevicesSpec(), Registry.of(pa.RecordBatch.from_pylist(DEVICES, schema=REGISTRY)))


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    with WebhookServer() as server:
        yield server


def test_alerts_that_need_no_past_are_out_at_once_for_the_groups_that_they_name(server: WebhookServer, lake: LakeSpec):
    sink = AlertSinkSpec.model_validate({"webhook": {"url": server.url}})
    dispatcher = Dispatcher((sink,), storage.locate(lake.path), "fleet", ALERT)
    # A model needs what is in order: none is looked for at once.
    order = OrderSpec("fleet", (TrainedModel(model="none"),), RULES, fleet_of=lambda: FLEET)
    Immediate(order, dispatcher).look(
        readings([
            {"device_id": f"boiler-{number}", "value": 90.0, "is_late": number == 4} for number in (1, 2, 3, 4)
        ])
    )  # fmt: skip
    assert dispatcher.flush(10.0)
    dispatcher.close()
    assert [(alert["rule"], alert["message"]) for alert in server.alerts] == [("north", "boiler-1 in north")]
