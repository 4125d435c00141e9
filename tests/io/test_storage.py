"""Which files a path or a glob names, and what becomes visible when."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.transforms.errors import SinkError, SourceError

TREE = [
    "a.parquet", "b.parquet", "ab.parquet", "[1].parquet", "day 1/c.parquet", "day 1/ü#%20?&=.parquet",
    "day 2/deep/er/d.parquet", "day 2/e.csv", "_staging/f.parquet", ".hidden/g.parquet", "day 2/_h.parquet",
    "day 2/.i.parquet", "2026-01/x=1/j.parquet",
]  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "archive"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.parquet", ["[1].parquet", "a.parquet", "ab.parquet", "b.parquet"]),
        ("?.parquet", ["a.parquet", "b.parquet"]),
        ("[ab].parquet", ["a.parquet", "b.parquet"]),
        ("[!a]*.parquet", ["[1].parquet", "b.parquet"]),
        ("[[]1].parquet", ["[1].parquet"]),
        ("*/*.parquet", ["day 1/c.parquet", "day 1/ü#%20?&=.parquet"]),
        ("**/d.parquet", ["day 2/deep/er/d.parquet"]),
        ("**/[cdj].parquet", ["2026-01/x=1/j.parquet", "day 1/c.parquet", "day 2/deep/er/d.parquet"]),
        ("day ?/**/*.parquet", ["day 1/c.parquet", "day 1/ü#%20?&=.parquet", "day 2/deep/er/d.parquet"]),
        ("**/x=*/*", ["2026-01/x=1/j.parquet"]),
    ],
)
def test_a_glob_names_its_files(archive: Path, pattern: str, names: list[str]):
    assert storage.find(f"{archive}/{pattern}") == names
    assert storage.source_root(f"{archive}/{pattern}").path == str(archive)


def test_a_folder_names_all_files_below_but_hidden_ones(archive: Path):
    shown = sorted(name for name in TREE if not any(part[0] in "._" for part in name.split("/")))
    assert storage.find(str(archive)) == shown
    assert storage.find(f"{archive}/") == shown
    assert storage.find(f"{archive}/**") == shown


def test_a_relative_path_is_relative_to_the_longest_part_without_a_wildcard(archive: Path):
    assert storage.find(f"{archive}/day 2/**/*.parquet") == ["deep/er/d.parquet"]
    assert storage.source_root(f"{archive}/day 2/**/*.parquet").path == str(archive / "day 2")


@pytest.mark.parametrize("name", ["a.parquet", "day 1/c.parquet", "day 2/_h.parquet", "2026-01/x=1/j.parquet"])
def test_a_single_file_is_itself_hidden_or_not(archive: Path, name: str):
    assert storage.find(str(archive / name)) == [Path(name).name]
    assert storage.source_root(str(archive / name)).path == str((archive / name).parent)


def test_a_hidden_folder_that_is_named_is_read(archive: Path):
    assert storage.find(f"{archive}/_staging/*") == ["f.parquet"]


@pytest.mark.parametrize("name", ["day 1/ü#%20?&=.parquet", "a.parquet", "day 1/c.parquet"])
def test_a_file_uri_is_a_path_escaped(archive: Path, name: str):
    assert storage.find((archive / name).as_uri()) == [Path(name).name]


def test_a_home_folder_and_a_relative_path_are_paths(archive: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(archive))
    monkeypatch.chdir(archive)
    assert storage.find("~/a.parquet") == storage.find("a.parquet") == storage.find("./[a].parquet") == ["a.parquet"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "there is no such file or folder"),
        ("nothing/*.parquet", "there is no folder .*nothing"),
        ("*.json", "no file matches\n.*9 other files|no file matches\n.*other files"),
        ("a.parquet/*", "there is no folder .*a.parquet"),
        ("a.parquet/b", "there is no such file or folder"),
    ],
)
def test_what_is_not_there_is_told(archive: Path, path: str, message: str):
    with pytest.raises(SourceError, match=message):
        storage.find(f"{archive}/{path}")


def test_an_empty_folder_has_no_file(tmp_path: Path):
    with pytest.raises(SourceError, match="no file matches"):
        storage.find(str(tmp_path))


def test_a_name_that_is_no_text_is_told(tmp_path: Path):
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet")).write_bytes(b"x")
    except OSError:
        pytest.skip("this disk takes no such name")
    with pytest.raises(SourceError, match="UTF-8"):
        storage.find(str(tmp_path))


@pytest.mark.parametrize("uri", ["ftp://host/a", "http://host/a", "hdfs://x", "://", "C://x"])
def test_an_unknown_scheme_is_told(uri: str):
    with pytest.raises(SourceError, match="write a path or one of s3, gs, gcs, file"):
        storage.locate(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "file://host/a", "s3://user:secret@/x", "s3://u:secret@b/x?no=1"])
def test_an_address_that_makes_no_sense_is_told_without_its_login(uri: str):
    with pytest.raises(SourceError) as caught:
        storage.locate(uri)
    assert "secret" not in str(caught.value)


REGION = "region=us-east-1"


@pytest.mark.parametrize(
    "key", ["a b", "ü", "50%", "a%20b", "a#b", "x=1/y", "*.parquet", "a?.parquet", "[ab]", "a+b&c"]
)
def test_a_path_in_an_object_store_stands_for_itself(key: str):
    assert storage.locate(f"s3://bucket/{key}?{REGION}").path == f"bucket/{key}"


PARTS = st.lists(st.text("ab1", min_size=1, max_size=3), min_size=1, max_size=4)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(PARTS, st.data())
def test_two_stars_stand_for_any_number_of_folders(parts: list[str], data: st.DataObject):
    low = data.draw(st.integers(0, len(parts)))
    high = data.draw(st.integers(low, len(parts)))
    pattern = [*parts[:low], "**", *parts[high:]]
    assert storage._parts_match(parts, pattern)
    assert storage._parts_match(parts, ["**"])
    assert not storage._parts_match([*parts, "z"], pattern) or high == len(parts)


# Writing


def test_what_is_published_replaces_what_was_there_whole(tmp_path: Path):
    root = storage.locate(str(tmp_path / "lake"))
    for content in (b"first", b"", b"x" * 100_000):
        storage.publish(root, "a/b/c.parquet", pa.py_buffer(content))
        found = storage.read(root, "a/b/c.parquet")
        assert found is not None
        assert found.to_pybytes() == content
    assert storage.files_below(root, "a") == ["a/b/c.parquet"]
    assert list((tmp_path / "lake" / "_staging").iterdir()) == []


def test_a_name_as_long_as_names_can_be_is_published(tmp_path: Path):
    root = storage.locate(str(tmp_path))
    storage.publish(root, f"{'n' * 247}.parquet", pa.py_buffer(b"x"))
    assert storage.exists(root, f"{'n' * 247}.parquet")


def test_what_is_not_there_is_none_and_is_removed_twice(tmp_path: Path):
    root = storage.locate(str(tmp_path))
    assert storage.read(root, "nothing") is None
    assert not storage.exists(root, "nothing")
    assert storage.files_below(root, "nothing") == []
    storage.publish(root, "a", pa.py_buffer(b"x"))
    storage.remove(root, "a")
    storage.remove(root, "a")
    assert not storage.exists(root, "a")


def test_a_folder_in_the_way_is_a_sink_error(tmp_path: Path):
    root = storage.locate(str(tmp_path))
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(SinkError, match="can't be written"):
        storage.publish(root, "a", pa.py_buffer(b"x"))
    assert list((tmp_path / "_staging").iterdir()) == []


def test_a_probe_leaves_nothing_and_tells_what_it_met(tmp_path: Path):
    storage.probe(storage.locate(str(tmp_path / "new")))
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(SinkError):
        storage.probe(storage.locate(str(tmp_path / "file")))
