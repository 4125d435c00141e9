"""Records as sources deliver them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from telebeam.transforms.schema import ENVELOPES

EUI = "0004a30b001c0530"
CLIMATE = bytes.fromhex("03670110056700FF")
"""CayenneLPP: temperature_3 = 27.2, temperature_5 = 25.5."""


def envelopes(
    payloads: Sequence[bytes | None], keys: Sequence[str | None] | None = None, offsets: Sequence[int] | None = None
) -> pa.RecordBatch:
    """A batch of payloads, with keys and offsets if given."""
    rows = len(payloads)
    columns = [
        pa.array(payloads, pa.large_binary()),
        pa.array(keys if keys is not None else [None] * rows, pa.string()),
        pa.array(["topic"] * rows, pa.string()),
        pa.array(np.zeros(rows, np.int32)),
        pa.array(np.arange(rows) if offsets is None else np.array(offsets, np.int64)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ENVELOPES)


def things_stack(eui: str = EUI, payload: bytes = CLIMATE) -> bytes:
    """An uplink of The Things Stack, received at 2026-01-01T12:00:00Z."""
    message = {"f_port": 2, "frm_payload": base64.b64encode(payload).decode(), "rx_metadata": [{"rssi": -90}]}
    record = {"end_device_ids": {"dev_eui": eui}, "received_at": "2026-01-01T12:00:00Z", "uplink_message": message}
    return json.dumps(record).encode()


def chirpstack(eui: str = EUI, payload: bytes = CLIMATE) -> bytes:
    """An uplink of ChirpStack, received at 2026-01-01T12:00:00Z."""
    data = base64.b64encode(payload).decode()
    record = {"deviceInfo": {"devEui": eui}, "time": "2026-01-01T12:00:00Z", "fPort": 2, "data": data}
    return json.dumps(record).encode()
