"""Windows and lateness, computed once more from the lake's readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from telebeam.transforms.schema import SERIES
from tests.checking.lake import connect, view
from tests.oracle import compare_windows, windows_oracle


@dataclass(frozen=True)
class WindowsVerdict:
    """How many closed windows were compared, and what is wrong with them."""

    windows: int
    wrong: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def __str__(self) -> str:
        return "\n  ".join([f"{self.windows} windows, {'all right' if self.ok else 'wrong:'}", *self.wrong])


def windows_match(
    lake: str | Path, lengths: Sequence[int] = (60,), *, closed_before: datetime | None = None
) -> WindowsVerdict:
    """Holds the highest revision of every closed window to DuckDB over the lake's readings that are not late.

    Args:
        lake: The lake's folder.
        lengths: The windows' lengths in seconds; each must be there where there are readings.
        closed_before: Windows that end later are left out on both sides; none is unless this is given.
    """
    con = connect()
    view(con, "readings", lake, "readings")
    con.execute("create view timely as from readings where not is_late")
    until = f"window_end <= '{closed_before.isoformat() if closed_before else 'infinity'}'::timestamptz"
    total, wrong = 0, []
    for seconds in lengths:
        view(con, "filed", lake, f"windows/window_seconds={seconds}")
        wrong += _revisions_twice(con, seconds)
        ours = con.sql(f"""from filed where {until}
            qualify row_number() over (partition by {", ".join(SERIES)}, window_start order by revision desc) = 1""")
        expected = con.from_arrow(windows_oracle(con, con.table("timely"), seconds)).filter(until)
        found, right = ours.to_arrow_table(), expected.to_arrow_table()
        total += right.num_rows
        try:
            compare_windows(found, right)
        except AssertionError as error:
            wrong.append(f"{seconds} s: {error}")
    return WindowsVerdict(total, tuple(wrong))


def _revisions_twice(con: duckdb.DuckDBPyConnection, seconds: int) -> list[str]:
    found = con.sql(f"""select device_id, measurement_type, window_start::text, revision from filed
        group by {", ".join(SERIES)}, window_start, revision having count(*) > 1 order by all""").fetchall()
    return [f"{seconds} s: {len(found)} revisions are there twice, such as {found[0]}"] if found else []


def late_matches(
    lake: str | Path, windows: Mapping[int, timedelta], max_out_of_orderness: timedelta,
    stamps: pa.Table | None = None,
) -> tuple[int, int, tuple[str, ...]]:  # fmt: skip
    """How many readings are late by the rule, how many are flagged otherwise than that, and some of these.

    The rule: the clock before a message is the largest time of the partition's earlier readings, none of them counted
    beyond the stamp of its message, less the tolerated disorder.  A reading is late if all its windows, of every
    length, and their lateness had ended by then.

    Args:
        lake: The lake's folder; it must hold each partition from its beginning.
        windows: Length in seconds → allowed lateness.
        max_out_of_orderness: As ``time.max_out_of_orderness``.
        stamps: ``source``, ``source_partition``, ``source_offset`` and ``stamp`` (a timestamp) of the messages; event
            times count in full unless given.
    """
    con = connect()
    view(con, "readings", lake, "readings")
    stamped, stamp = "readings", "null"
    if stamps is not None:
        con.register("stamps", stamps)
        stamped, stamp = "readings left join stamps using (source, source_partition, source_offset)", "epoch_us(stamp)"
    # µs since 1970; least() passes over what is null.
    ended = " and ".join(
        f"(us - us % {length * 1_000_000} + {length * 1_000_000 + lateness // timedelta(microseconds=1)}) <= clock"
        for length, lateness in windows.items()
    )
    con.execute(f"""create table judged as
        select *, coalesce({ended or "false"}, false) as expected from (
            select *, epoch_us(timestamp) as us, max(least(epoch_us(timestamp), {stamp})) over (
                partition by source, source_partition order by source_offset
                range between unbounded preceding and 1 preceding
            ) - {max_out_of_orderness // timedelta(microseconds=1)} as clock
            from {stamped})""")
    late, otherwise = con.sql(
        "select count(*) filter (expected), count(*) filter (expected <> is_late) from judged"
    ).fetchall()[0]
    some = con.sql("""select source_partition, source_offset, device_id, timestamp::text, is_late from judged
        where expected <> is_late order by all limit 3""").fetchall()
    return int(late), int(otherwise), tuple(map(str, some))
