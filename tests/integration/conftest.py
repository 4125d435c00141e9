"""Real servers, one of each a test session."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from telebeam.pipelines.runtimes.installs import RuntimeUnavailableError

SERVICES = Path(__file__).resolve().parent.parent / "services"


def load_service(name: str) -> Any:
    """The module ``tests/services/<name>.py``: tests are no package, so it is loaded from its path."""
    full_name = f"telebeam_test_services_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, SERVICES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module  # dataclasses look their module up while it is executed
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[full_name]
            raise
    return sys.modules[full_name]


def unavailable(reason: str) -> NoReturn:
    """Skip for the given reason, but fail where CI promises that every server is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(f"NOT TESTED AGAINST THE REAL SERVER: {reason}")


@pytest.fixture(scope="session")
def influxdb() -> Iterator[Any]:
    """A running InfluxDB 2, set up."""
    service = load_service("influxdb")
    try:
        binary = service.influxd()
    except service.InfluxUnavailableError as error:
        unavailable(str(error))
    assert binary.exists()
    with service.running_influxdb() as server:
        yield server


@pytest.fixture
def own_influxdb(influxdb: Any) -> Iterator[Any]:
    """A second server, which a test may stop and start."""
    with load_service("influxdb").running_influxdb() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """A running object store that speaks S3, empty."""
    service = load_service("s3")
    try:
        with service.running_s3() as server:
            yield server
    except service.S3UnavailableError as error:
        unavailable(str(error))


@pytest.fixture
def s3(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The object store, with its login in the environment."""
    for name, value in load_service("s3").LOGIN.items():
        monkeypatch.setenv(name, value)
    return s3_server


@contextmanager
def running(name: str, *arguments: Any) -> Iterator[Any]:
    """A server of ``tests/services/<name>.py`` that the test has for itself."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(getattr(load_service(name), f"running_{name}")(*arguments))
        except RuntimeUnavailableError as error:
            unavailable(str(error))
        except ModuleNotFoundError as error:
            unavailable(f"{name} needs the Python package {error.name}")
        yield started


@pytest.fixture(scope="session")
def kafka() -> Iterator[Any]:
    """A running Kafka that tests share: each makes topics of its own and leaves the broker alone."""
    with running("kafka") as server:
        yield server


@pytest.fixture
def own_kafka() -> Iterator[Any]:
    """A second broker, which a test may stop, kill and start."""
    with running("kafka") as server:
        yield server


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running Pub/Sub, empty, which clients find by their environment."""
    with running("pubsub") as server:
        monkeypatch.setenv(load_service("pubsub").VARIABLE, server.endpoint)
        yield server


@pytest.fixture(scope="session")
def flink() -> Iterator[Any]:
    """A running Flink that tests share."""
    with running("flink") as server:
        yield server


@pytest.fixture(scope="session")
def prism() -> Path:
    """Prism's program."""
    try:
        return Path(load_service("prism").prism_binary())
    except RuntimeUnavailableError as error:
        unavailable(str(error))
