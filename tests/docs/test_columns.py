from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.transforms.schema import DATASETS

AT = datetime(2026, 1, 31, 13, 5, tzinfo=UTC)


@pytest.fixture
def document(root: Path) -> str:
    return (root / "docs/columns.md").read_text(encoding="utf-8")


def section(document: str, name: str) -> str:
    (text,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", document, flags=re.DOTALL | re.MULTILINE)
    return text


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_table_of_a_dataset_is_its_schema(document: str, dataset: str):
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in section(document, dataset).splitlines()
        if line.startswith("| ") and not line.startswith("| column ")
    ]
    expected = [(f.name, str(f.type), "yes" if f.nullable else "no") for f in DATASETS[dataset]]
    assert [row[:3] for row in rows] == expected
    assert all(row[3] for row in rows)


def example_value(kind: pa.DataType, name: str) -> Any:
    if pa.types.is_timestamp(kind):
        return AT
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_list(kind):
        return []
    if pa.types.is_large_binary(kind):
        return b"{"
    if pa.types.is_string(kind):
        return {"scope": "device"}.get(name, "text")
    return {"window_seconds": 60, "n": 10}.get(name, 1)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lake of one row a dataset, laid out as the document says."""
    folders = {
        "readings": "date=2026-01-31/hour=13",
        "rejects": "date=2026-01-31/hour=13",
        "replayed": "date=2026-01-31/hour=13",
        "windows": "window_seconds=60/date=2026-01-31/hour=13",
        "quality": "date=2026-01-31",
        "last_n": "n=10/date=2026-01-31/hour=13",
        **dict.fromkeys(("scores", "alerts", "commands", "drift"), "date=2026-01-31/hour=13"),
    }
    for dataset, schema in DATASETS.items():
        folder = tmp_path / "lake" / dataset / folders[dataset]
        folder.mkdir(parents=True)
        row = {field.name: example_value(field.type, field.name) for field in schema}
        pq.write_table(pa.Table.from_pylist([row], schema=schema), folder / "a.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lake"


@pytest.mark.usefixtures("lake")
def test_the_queries_run_over_a_lake_of_this_layout(document: str):
    queries = re.findall(r"^```sql\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)
    assert len(queries) == len(DATASETS)
    with duckdb.connect() as connection:
        for query in queries:
            assert len(connection.sql(query).fetchall()) == 1, query
