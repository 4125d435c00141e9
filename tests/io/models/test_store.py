"""A version is there whole or not at all, never changes, and what is not one is refused with its place."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.io.models import manifest as manifests
from telebeam.io.models.arrays import SCHEMA, to_ipc
from telebeam.io.models.manifest import Manifest
from telebeam.io.models.store import load_manifest, load_version, names, publish, versions
from telebeam.transforms.errors import ConfigurationError
from tests.io.lake.disks import DiedError, dying_after
from tests.io.models.samples import DRAWN, folder, put
from tests.transforms.anomaly.models import model
from tests.transforms.anomaly.samples import MIDNIGHT

ROOM = [HealthCheck.function_scoped_fixture]


def load(lake: Path, manifest: Manifest) -> Any:
    return load_version(storage.locate(str(lake)), manifest.name, manifest.version)


def refused(lake: Path, manifest: Manifest, words: str = "is refused") -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        load(lake, manifest)
    assert manifest.version in caught.value.message
    assert str(lake) in caught.value.message
    assert "train the model again" in caught.value.hint


def rewrite(lake: Path, manifest: Manifest, arrays: bytes) -> Manifest:
    """Other arrays with a manifest that vouches for them."""
    place = folder(lake, manifest)
    (place / "arrays.arrow").write_bytes(arrays)
    fields = {**json.loads((place / "manifest.json").read_bytes())}
    fields |= {"sha256": hashlib.sha256(arrays).hexdigest(), "bytes": len(arrays), "fingerprint": ""}
    return reseal(lake, manifest, fields)


def reseal(lake: Path, manifest: Manifest, fields: dict[str, Any]) -> Manifest:
    fields["features"], fields["forests"] = tuple(fields["features"]), ()
    changed = manifests.sealed(Manifest(**fields))
    (folder(lake, manifest) / "manifest.json").write_bytes(manifests.encode(changed))
    return changed


def test_what_is_loaded_is_what_was_published_to_the_last_bit(tmp_path: Path):
    manifest = put(tmp_path)
    found, given_ = load(tmp_path, manifest), model()
    assert (found.name, found.version, found.valid_from) == ("fleet", manifest.version, MIDNIGHT)
    assert found.fingerprint == manifest.fingerprint
    features = np.random.default_rng(1).normal(20, 3, (6, 500))
    for one, other in zip(found.parts, given_.parts, strict=True):
        assert one.group == other.group
        assert (one.forest.scores(features) == other.forest.scores(features)).all()
        assert (one.histogram.counts == other.histogram.counts).all()
    assert to_ipc(found.parts).equals(to_ipc(given_.parts))


def test_forests_of_single_series_are_loaded_with_their_checksums(tmp_path: Path):
    own = model(per="device")
    root = storage.locate(str(tmp_path))
    manifest, _ = publish(root, DRAWN, own.parts)
    assert [part.group for part in load(tmp_path, manifest).parts] == [part.group for part in own.parts]
    assert any(part.group.series is not None for part in own.parts)


def test_the_same_model_again_finds_itself_and_changes_nothing(tmp_path: Path):
    first = put(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    root = storage.locate(str(tmp_path))
    again, is_new = publish(root, msgspec.structs.replace(DRAWN, created_at="2027-01-01T00:00:00Z"), model().parts)
    assert (again, is_new) == (first, False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    other = put(tmp_path, valid_from=MIDNIGHT + 1)
    assert versions(root, "fleet") == sorted([first.version, other.version])
    assert names(root) == ["fleet"]


def test_a_model_whose_writer_dies_is_not_there_and_then_whole(tmp_path: Path):
    root = storage.locate(str(tmp_path))
    for operations in range(200):
        try:
            with dying_after(operations, tmp_path):
                manifest = put(tmp_path)
        except DiedError:
            for version in versions(root, "fleet"):
                load_version(root, "fleet", version)
            continue
        break
    else:
        pytest.fail("it dies for ever")
    assert operations > 5
    load(tmp_path, manifest)


@given(
    share=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    which=st.sampled_from(["arrays.arrow", "manifest.json"]),
)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=ROOM)
def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path, share: float, bit: int, which: str):
    manifest = put(tmp_path)
    path = folder(tmp_path, manifest) / which
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[int(share * len(whole))] ^= 1 << bit
    path.write_bytes(broken)
    try:
        if which == "manifest.json" and _says_the_same(whole, bytes(broken)):
            load(tmp_path, manifest)
        else:
            refused(tmp_path, manifest)
    finally:
        path.write_bytes(whole)


def _says_the_same(whole: bytes, broken: bytes) -> bool:
    """Whether only white space differs."""
    try:
        return bool(json.loads(whole) == json.loads(broken))
    except ValueError:
        return False


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=ROOM)
def test_a_cut_off_file_is_refused(tmp_path: Path, share: float):
    manifest = put(tmp_path)
    path = folder(tmp_path, manifest) / "arrays.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(tmp_path, manifest, "checksum of arrays.arrow is wrong")
    path.write_bytes(whole)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("what", ["pickle", "text", "nothing", "other columns", "no row", "other numbers"])
def test_content_that_is_no_forest_is_refused_though_its_checksum_fits(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    manifest = put(tmp_path)
    path = folder(tmp_path, manifest) / "arrays.arrow"
    content = {
        "pickle": lambda: pickle.dumps(Trap()),
        "text": lambda: b"forest",
        "nothing": lambda: b"",
        "other columns": lambda: ipc(pa.table({"a": [1]})),
        "no row": lambda: ipc(SCHEMA.empty_table()),
        "other numbers": lambda: ipc(doctored(path)),
    }[what]()
    refused(tmp_path, rewrite(tmp_path, manifest, content), "arrays.arrow: ")
    assert not Path("sprung").exists()


def ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def doctored(path: Path) -> pa.Table:
    """Forests whose nodes look at a feature that there isn't."""
    with pa.ipc.open_stream(path) as reader:
        table = reader.read_all()
    place = table.schema.get_field_index("feature")
    sevens = [[77] * len(row) for row in table["feature"]]
    return table.set_column(place, SCHEMA.field("feature"), pa.array(sevens, SCHEMA.field("feature").type))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features_version": 2}, "features of version 2; expected 1"),
        ({"features": ("value",)}, "features of version"),
        ({"name": "other"}, "manifest.json is of other"),
        ({"valid_from": "yesterday"}, "is refused"),
        ({"valid_from": "2026-01-01T00:00:00"}, "names no zone"),
        ({"bytes": 1 << 40}, "expected 1,073,741,824 at the most"),
        ({"format": 2}, "manifest.json: format 2; expected 1"),
    ],
)
def test_a_manifest_of_something_else_is_refused(changes: dict[str, Any], words: str, tmp_path: Path):
    manifest = put(tmp_path)
    fields = {name: getattr(manifest, name) for name in Manifest.__struct_fields__}
    reseal(tmp_path, manifest, fields | changes)
    refused(tmp_path, manifest, words)


def test_arrays_or_a_manifest_that_are_gone_are_refused(tmp_path: Path):
    manifest = put(tmp_path)
    (folder(tmp_path, manifest) / "arrays.arrow").unlink()
    refused(tmp_path, manifest, r"there is no arrays\.arrow")
    (folder(tmp_path, manifest) / "manifest.json").unlink()
    refused(tmp_path, manifest, r"there is no manifest\.json")
    assert versions(storage.locate(str(tmp_path)), "fleet") == []
    with pytest.raises(ConfigurationError):
        load_manifest(storage.locate(str(tmp_path)), "fleet", manifest.version)


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 65, "ä"])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match="is no model's name"):
        put(tmp_path, name=name)
    with pytest.raises(ConfigurationError, match="is no model's name"):
        versions(storage.locate(str(tmp_path)), name)
    assert not (tmp_path / "_models").exists()
