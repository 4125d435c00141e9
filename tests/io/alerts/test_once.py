"""A command that ends sends what a sink has not had, and says what it could not."""

from __future__ import annotations

import pytest

from telebeam.io import storage
from telebeam.io.alerts.once import send_once
from telebeam.io.alerts.testing import WebhookServer
from telebeam.transforms.errors import SinkError
from tests.io.alerts.samples import alerts, hook, ids


def test_each_sink_gets_what_its_log_does_not_have(root: storage.Location, server: WebhookServer):
    with WebhookServer() as other:
        sinks = [hook(server.url), hook(other.url, sink={"min_severity": "critical"})]
        first = alerts({}, {"severity": "warning"})
        assert sorted(send_once(sinks, root, "fleet", first, "drift").values()) == [1, 2]
        assert send_once(sinks, root, "fleet", first, "drift") == {}
        more = alerts({}, {"severity": "warning"}, {"severity": "info"})
        assert send_once(sinks, root, "fleet", more, "drift") == {sinks[0].name: 1}
        assert (ids(server.alerts), ids(other.alerts)) == (["a0", "a1", "a2"], ["a0"])


def test_nothing_to_send_asks_nobody(root: storage.Location):
    assert send_once([hook("http://127.0.0.1:9/")], root, "fleet", alerts(), "drift") == {}


def test_a_sink_that_is_away_keeps_nothing_from_others_and_gets_its_own_later(
    root: storage.Location, server: WebhookServer
):
    with WebhookServer() as other:
        other.answer(301)
        sinks = [hook(other.url), hook(server.url)]
        with pytest.raises(SinkError, match=r"1 alert\(s\) were not taken: webhook.*redirects"):
            send_once(sinks, root, "fleet", alerts({}), "drift", 1.0)
        assert ids(server.alerts) == ["a0"]
        other.answer(204)
        assert send_once(sinks, root, "fleet", alerts({}), "drift") == {sinks[0].name: 1}
        assert ids(server.alerts) == ["a0"]


def test_an_alert_that_is_refused_for_good_is_not_sent_again(root: storage.Location, server: WebhookServer):
    server.answer(404)
    sink = hook(server.url)
    assert send_once([sink], root, "fleet", alerts({}), "drift") == {sink.name: 0}
    server.answer(204)
    assert send_once([sink], root, "fleet", alerts({}), "drift") == {}
