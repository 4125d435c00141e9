"""Topics and jobs of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.streaming.harness import StreamingJob
from tests.integration.streaming.warm import Warm

Start = Callable[..., StreamingJob]


@pytest.fixture
def topic(kafka: Any, request: pytest.FixtureRequest) -> str:
    """The name of the test, as a topic's: not made yet."""
    return "".join(sign if sign.isalnum() else "-" for sign in request.node.name)[:80]


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process of a job that has its imports behind it."""
    spare = Warm()
    yield spare
    spare.close()


@pytest.fixture
def start(prism: Path, warm: Warm) -> Iterator[Start]:
    """Starts jobs, as :class:`StreamingJob` is made; what still runs at the end is killed."""
    assert prism.exists()
    with ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(StreamingJob(*given, **{"warm": warm, **named}))


@pytest.fixture
def is_long(pytestconfig: pytest.Config) -> bool:
    """Whether the long forms are asked for."""
    return bool(pytestconfig.getoption("--long"))
