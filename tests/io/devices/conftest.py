"""One process for codecs for all tests, and messages for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest

from telebeam.io.devices.codecs import Codec, Codecs
from telebeam.transforms.devices.decoded import Decoded, Payloads

RECEIVED = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
Decode = Callable[..., Decoded]


@pytest.fixture(scope="session")
def codecs() -> Iterator[Codecs]:
    with Codecs() as made:
        yield made


@pytest.fixture(scope="session")
def decode(codecs: Codecs) -> Decode:
    """Decodes payloads by a codec's source."""

    def run(source: str, *payloads: bytes, port: int = 1) -> Decoded:
        return codecs.decode(Codec(source), messages(*payloads, port=port))

    return run


def messages(*payloads: bytes, port: int = 1) -> Payloads:
    count = len(payloads)
    return Payloads(pa.array(payloads, pa.large_binary()), np.full(count, port), np.full(count, RECEIVED))
