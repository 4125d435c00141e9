"""A lake read without Beam: as Arrow tables, pandas frames and by DuckDB.

    python examples/analyst.py demo/lake

Any lake will do; `make demo` makes that one.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import pyarrow.compute as pc

from telebeam.io.lake import Lake


def main(path: str) -> None:
    lake = Lake(path)

    # Arrow: only the columns, days and devices that are asked for are read.
    last = pc.max(lake.quality()["last_timestamp"]).as_py()
    if last is None:
        sys.exit(f"there are no readings in {path}; make some with: make demo")
    recent = lake.readings(last - timedelta(minutes=10), columns=["device_id", "sensor_type", "value"])
    print(f"{recent.num_rows} readings in the ten minutes before {last:%Y-%m-%d %H:%M:%S}")

    # pandas: the hottest minutes.
    minutes = lake.windows(60, columns=["device_id", "sensor_type", "window_start", "mean"]).to_pandas()
    hottest = minutes[minutes.sensor_type == "temperature"].nlargest(3, "mean")
    print(hottest.to_string(index=False))

    # DuckDB: a view for each dataset that the lake holds.
    with lake.duckdb() as connection:
        print(connection.sql("select device_id, count(*) as readings from readings group by all order by all limit 3"))


if __name__ == "__main__":
    main(sys.argv[1])
