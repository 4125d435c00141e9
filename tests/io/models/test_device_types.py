"""Models by device type are published whole, and others keep the bytes that they had before there were such."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from telebeam.io import storage
from telebeam.io.models import manifest as manifests
from telebeam.io.models.arrays import SCHEMA, from_ipc, to_ipc
from telebeam.io.models.manifest import Forest
from telebeam.io.models.source import check_models
from telebeam.io.models.store import load_manifest, load_version, publish
from telebeam.transforms.anomaly.spec import TrainedModel
from telebeam.transforms.devices.limits import DEVICE_TYPE
from telebeam.transforms.errors import ConfigurationError
from tests.io.models.samples import DRAWN, put
from tests.transforms.anomaly.models import grown, model
from tests.transforms.anomaly.samples import fleet

FOREST = Forest("default", "temperature", None, 300, {}, 0, None, {})


def typed_parts() -> tuple:  # type: ignore[type-arg]
    batch = fleet(3000, 1, devices=2)
    kinds = pa.array([f"type {device[-1]}" for device in batch.column("device_id").to_pylist()])
    return grown(batch.append_column(DEVICE_TYPE, kinds), "device_type")


def test_a_model_by_device_type_comes_back_to_the_last_bit(tmp_path: Path):
    root, parts = storage.locate(str(tmp_path)), typed_parts()
    forests = (FOREST, msgspec.structs.replace(FOREST, device_type="type 1"))
    manifest, _ = publish(root, msgspec.structs.replace(DRAWN, per="device_type", forests=forests), parts)
    found = load_version(root, "fleet", manifest.version)
    assert [part.group for part in found.parts] == [part.group for part in parts]
    assert {part.group.device_type for part in found.parts} == {None, "type 0", "type 1"}
    for one, other in zip(found.parts, parts, strict=True):
        assert np.array_equal(one.forest.threshold, other.forest.threshold)
    assert found.asks_types
    assert load_manifest(root, "fleet", manifest.version).forests == forests


def test_models_without_device_types_have_the_columns_and_the_manifest_that_they_always_had():
    parts = model().parts
    with pa.ipc.open_stream(to_ipc(parts)) as reader:
        assert reader.schema == SCHEMA
    assert DEVICE_TYPE not in SCHEMA.names
    assert [part.group for part in from_ipc(to_ipc(parts))] == [part.group for part in parts]
    sealed = manifests.sealed(msgspec.structs.replace(DRAWN, forests=(FOREST,)))
    assert b"device_type" not in manifests.encode(sealed)
    assert manifests.decode(manifests.encode(sealed)) == sealed


def test_a_model_by_device_type_is_refused_where_there_are_no_devices(tmp_path: Path):
    detectors = [TrainedModel(model="fleet")]
    put(tmp_path)
    check_models(detectors, str(tmp_path), has_devices=False)
    publish(storage.locate(str(tmp_path)), msgspec.structs.replace(DRAWN, per="device_type"), typed_parts())
    check_models(detectors, str(tmp_path), has_devices=True)
    with pytest.raises(ConfigurationError, match="the model fleet has forests by device type") as caught:
        check_models(detectors, str(tmp_path), has_devices=False)
    assert "add devices" in caught.value.hint
