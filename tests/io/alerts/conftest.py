"""A lake, a webhook's receiver, and the real brokers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from telebeam.io import storage
from telebeam.io.alerts.testing import WebhookServer
from tests.integration.conftest import kafka, own_kafka, pubsub  # noqa: F401 - fixtures
from tests.io.alerts.samples import SECRET, VARIABLE


@pytest.fixture
def root(tmp_path: Path) -> storage.Location:
    """The lake."""
    return storage.locate(str(tmp_path / "lake"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    """A receiver that knows the secret, which the environment holds."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with WebhookServer(secret=SECRET) as running:
        yield running
