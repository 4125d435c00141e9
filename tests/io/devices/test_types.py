"""Files of device types: what can't be used is named with its file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from telebeam.io.devices.types import MAX_BYTES, load_codec, load_schema
from telebeam.transforms.errors import ConfigurationError


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_a_schema_and_a_codec_are_what_their_files_hold(tmp_path: Path):
    validator = load_schema(write(tmp_path / "s.json", b'{"type": "object"}'))
    assert validator(pa.array([b"{}", b"[]"], pa.large_binary())).valid.tolist() == [True, False]
    path = write(tmp_path / "c.js", "\ufeff// é".encode())
    assert (load_codec(path).source, load_codec(path).name) == ("// é", path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "Input data was truncated"),
        (b"{", "truncated"),
        (b"7", "an object"),
        (b'{"type": 1}', "not a JSON Schema"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_file(data: bytes, words: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match=rf"s\.json: .*{words}"):
        load_schema(write(tmp_path / "s.json", data))


def test_what_can_not_be_read_is_refused(tmp_path: Path):
    for path, words in [
        (str(tmp_path / "absent.js"), "there is no such file; expected a codec"),
        (str(tmp_path), r"can't be read|there is no such file"),
        (write(tmp_path / "latin.js", b"// \xe9"), "byte 0xe9 is not UTF-8"),
        (write(tmp_path / "big.js", b" " * (MAX_BYTES + 1)), "larger than 4 MiB"),
        ("ftp://host/c.js", "ftp://"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            load_codec(path)
