"""Whatever becomes of a reader, each record is in the lake once."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.feed import Partition
from telebeam.io.streams.filing import PartitionFiles, Unit
from telebeam.io.streams.job import StreamJob, drain
from telebeam.io.streams.journal import journals
from telebeam.io.streams.notices import FOREVER
from telebeam.io.streams.reader import Reader
from telebeam.io.streams.receipts import InfluxReceipt, WindowReceipt, save, windows_path
from telebeam.io.streams.spec import TimeSpec
from telebeam.io.streams.testing import MemoryBroker, MemoryFeeds
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.checking import Checks
from telebeam.transforms.errors import TakenOverError
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.quality.spec import QualitySpec
from tests.io.lake.disks import DiedError, dying_after, tree

START = 1_767_225_600  # 2026-01-01T00:00:00Z
MINUTE = WindowSpec(every="1m")


def payload(number: int, at: int) -> bytes:
    record = {"device_id": f"dev-{number % 7}", "timestamp": at, "sensor_type": "temperature", "value": number % 50}
    return json.dumps(record).encode()


def broker(records: int = 300, partitions: int = 2, *, bad: int = 50) -> MemoryBroker:
    made = MemoryBroker(partitions=partitions)
    for number in range(records):
        text = b"{nonsense" if number % bad == 7 else payload(number, START + 10 * number)
        made.append(number % partitions, text)
    return made


def job(lake: LakeSpec, memory: MemoryBroker, *, until_end: bool = True, most: int = 40) -> StreamJob:
    checks = Checks(ParseSpec(), QualitySpec(max_age_days=None))
    feeds = MemoryFeeds(memory, until_end, most)
    time = TimeSpec(file_every="100ms")
    return StreamJob("fleet", uuid.uuid4().hex, feeds, 1, checks, (MINUTE,), lake, None, time)


def read_all(work: StreamJob, bundles: int = 100) -> list[bytes]:
    reader = Reader(work, 0)
    notices = []
    for _ in range(bundles):
        bundle = reader.bundle()
        notices.append(bundle.notice.encode())
        if bundle.ended:
            reader.close()
            return notices
    raise AssertionError("it does not end")


def origins(lake: LakeSpec) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for table in (Lake(lake.path).readings(), Lake(lake.path).rejects()):
        found.update(zip(*(table.column(n).to_pylist() for n in ("source_partition", "source_offset")), strict=True))
    return found


def expected(memory: MemoryBroker) -> Counter[tuple[int, int]]:
    return Counter((number, offset) for number, log in memory.records.items() for offset in range(len(log)))


def test_each_record_is_filed_once_and_counted(lake: LakeSpec):
    memory = broker()
    read_all(job(lake, memory))
    assert origins(lake) == expected(memory)
    found = journals(storage.locate(lake.path), "fleet")
    assert {partition.number: journal.next for partition, journal in found.items()} == {0: 150, 1: 150}
    assert sum(journal.counts.rows_in for journal in found.values()) == 300
    assert sum(journal.counts.rejects for journal in found.values()) == Lake(lake.path).rejects().num_rows == 6


def test_a_second_run_reads_nothing_again(lake: LakeSpec):
    memory = broker()
    read_all(job(lake, memory))
    before = tree(Path(lake.path) / "readings")
    read_all(job(lake, memory))
    assert tree(Path(lake.path) / "readings") == before


def test_what_is_committed_is_in_the_lake(lake: LakeSpec):
    memory = broker()
    reader = Reader(job(lake, memory, until_end=False), 0)
    for _ in range(3):
        reader.bundle()
        filed = dict.fromkeys(memory.committed, 0)
        for number, offset in origins(lake):
            filed[number] = max(filed[number], offset + 1)
        assert memory.committed == filed


@pytest.mark.parametrize("operations", range(0, 60, 3))
def test_a_reader_killed_at_any_file_operation_loses_and_repeats_nothing(lake: LakeSpec, operations: int):
    memory = broker()
    with dying_after(operations, Path(lake.path)), suppress(DiedError):
        read_all(job(lake, memory))
    read_all(job(lake, memory))
    assert origins(lake) == expected(memory)
    assert sum(j.counts.rows_in for j in journals(storage.locate(lake.path), "fleet").values()) == 300


def test_kills_one_after_the_other_add_up_to_one_read(lake: LakeSpec):
    memory = broker()
    for operations in (5, 9, 13, 17, 21):
        with dying_after(operations, Path(lake.path)), suppress(DiedError):
            read_all(job(lake, memory))
    read_all(job(lake, memory))
    assert origins(lake) == expected(memory)


def test_the_same_records_are_late_however_the_reader_is_cut_off_and_goes_on(tmp_path: Path):
    memory = MemoryBroker()
    for number in range(200):
        at = START + 10 * number - (300 if number % 20 == 19 else 0)
        memory.append(0, payload(number, at))
    late = []
    for cut in (None, 4, 12):
        lake = LakeSpec(path=str(tmp_path / f"lake-{cut}"))
        if cut is not None:
            with dying_after(cut, Path(lake.path)), suppress(DiedError):
                read_all(job(lake, memory, most=13))
        read_all(job(lake, memory, most=40 if cut is None else cut + 1))
        table = Lake(lake.path).readings()
        late.append(
            {
                o
                for o, is_late in zip(*(table.column(n).to_pylist() for n in ("source_offset", "is_late")), strict=True)
                if is_late
            }
        )
    assert late[0] == late[1] == late[2] == set(range(19, 200, 20))


def test_two_jobs_of_one_name_do_not_write_the_same_partition(lake: LakeSpec):
    memory = broker(records=10, partitions=1)
    first, second = (Reader(job(lake, memory, until_end=False), 0) for _ in range(2))
    first.bundle()
    memory.append(0, payload(1, START))
    second.bundle()
    memory.append(0, payload(2, START))
    with pytest.raises(TakenOverError, match="another job"):
        first.bundle()


def test_a_notice_tells_what_waits_until_a_receipt_says_that_it_is_done(lake: LakeSpec):
    memory = broker(records=60, partitions=1)
    reader = Reader(job(lake, memory, until_end=False, most=30), 0)
    waiting = reader.bundle().notice.partitions[0]
    first, end = waiting.touched[60][0]
    assert first == START * 1_000_000
    root = storage.locate(lake.path)
    save(root, windows_path("fleet", 60), WindowReceipt(end - 60_000_000, {waiting.name: waiting.next}))
    assert reader.bundle().notice.partitions[0].touched[60][0] == (end - 60_000_000, end)


def test_a_finished_read_has_a_clock_beyond_all_windows(lake: LakeSpec):
    reader = Reader(job(lake, broker()), 0)
    while not (bundle := reader.bundle()).ended:
        pass
    assert bundle.notice.clock == FOREVER


def test_a_job_that_is_told_to_end_files_what_it_has(lake: LakeSpec):
    memory = broker()
    work = job(lake, memory, until_end=False)
    reader = Reader(work, 0)
    reader.bundle()
    drain(storage.locate(lake.path), work.pipeline, work.run)
    assert reader.bundle().ended
    assert set(origins(lake)) <= set(expected(memory))


def test_records_that_give_nothing_move_the_position_on(lake: LakeSpec):
    memory = MemoryBroker()
    memory.append(0, b"[]")
    read_all(job(lake, memory))
    assert journals(storage.locate(lake.path), "fleet")[Partition("memory", 0)].next == 1


def test_a_lake_that_is_full_for_a_while_is_waited_for(lake: LakeSpec, monkeypatch: pytest.MonkeyPatch):
    memory = broker()
    full = iter([True, True, False])
    publish = storage.publish

    def sometimes(root: storage.Location, path: str, content: pa.Buffer) -> None:
        if path.startswith("readings") and next(full, False):
            raise storage.SinkError("no space left on the device")
        publish(root, path, content)

    monkeypatch.setattr(storage, "publish", sometimes)
    slept: list[float] = []
    reader = Reader(job(lake, memory), 0, sleep=slept.append)
    while not reader.bundle().ended:
        pass
    assert len(slept) == 2
    assert origins(lake) == expected(memory)


def test_opening_a_partition_takes_back_what_was_not_finished(lake: LakeSpec):
    root = storage.locate(lake.path)
    memory = broker(records=10, partitions=1)
    with dying_after(6, Path(lake.path)), suppress(DiedError):
        read_all(job(lake, memory))
    PartitionFiles(lake, root, "fleet", Partition("memory", 0))
    found = journals(root, "fleet")
    assert all(journal.pending is None for journal in found.values())
    filed = {offset for _, offset in origins(lake)} if (Path(lake.path) / "readings").exists() else set()
    assert filed == set(range(found[Partition("memory", 0)].next if found else 0))


def test_what_is_owed_behind_a_unit_on_its_way_is_not_told_before_it(lake: LakeSpec):
    files = PartitionFiles(lake, storage.locate(lake.path), "fleet", Partition("memory", 0))
    readings = Checks(ParseSpec(), QualitySpec(max_age_days=None))
    with ThreadPoolExecutor(1) as executor:
        for end in (1, 2, 3):
            memory = MemoryBroker()
            memory.append(0, payload(end, START))
            feed = MemoryFeeds(memory)(0, 1)
            feed.open(lambda partition: None)
            checked = readings(feed.poll(0)[0].envelopes, START * 1_000_000)
            files.file(Unit(0, end, readings=[checked.readings]), {60: 60_000_000}, executor, influx=True)
    assert [owed.end for owed in files.notice().owed] == [1, 2, 3]
    assert [owed.end for owed in files.notice(in_hand=[2]).owed] == [1]
    assert [owed.end for owed in files.notice(in_hand=[1]).owed] == []
    files.leave_out({}, InfluxReceipt(), delivered=[2])
    assert [owed.end for owed in files.notice(in_hand=[3]).owed] == [1]
