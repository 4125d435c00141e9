"""The lake as DuckDB sees it, without the product's reader."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from telebeam.transforms.schema import DATASETS


def connect() -> duckdb.DuckDBPyConnection:
    """A connection whose times are in UTC."""
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'")
    return con


def view(con: duckdb.DuckDBPyConnection, name: str, lake: str | Path, folder: str) -> None:
    """A view of the files below a folder, with ``filename``; an empty one where there are none."""
    if not any((Path(lake) / folder).rglob("*.parquet")):
        con.register("nothing", DATASETS[folder.partition("/")[0]].empty_table())
        con.execute(f"create or replace table {name}_none as select *, '' as filename from nothing")
        con.execute(f"create or replace view {name} as from {name}_none")
        con.unregister("nothing")
        return
    # A wildcard in the lake's own path stands for itself, in brackets.
    escaped = re.sub(r"([*?\[])", r"[\1]", str(lake)).replace("'", "''")
    files = f"'{escaped}/{folder}/**/*.parquet', hive_partitioning = false, filename = true"
    con.execute(f"create or replace view {name} as from read_parquet({files})")
