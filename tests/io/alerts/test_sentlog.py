"""The log of what was sent: whatever becomes of its writers, what it took it has, and it stays small."""

from __future__ import annotations

import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.io import storage
from telebeam.io.alerts.messages import KEPT_DAYS, Key
from telebeam.io.alerts.sender import Failed
from telebeam.io.alerts.sentlog import MERGED_FILES, SentLog, folder
from telebeam.transforms.errors import SinkError, SourceError
from tests.io.lake.disks import DiedError, dying_after, store

TODAY = 20_454
NOW = TODAY * 86_400.0


def log(root: storage.Location) -> SentLog:
    made = SentLog(root, "fleet", "hook", now=lambda: NOW)
    made.refresh()
    return made


def key(number: int, day: int = TODAY, state: str = "firing") -> Key:
    return Key(f"a{number}", state, day)


def files(root: storage.Location) -> list[str]:
    return storage.files_below(root, folder("fleet", "hook"), ".json")


def test_what_was_added_is_known_to_every_later_log(root: storage.Location):
    first = log(root)
    assert key(1) not in first
    first.add([key(1), key(2, state="resolved")], [Failed(key(3), "400: no")])
    for each in (first, log(root)):
        assert all(known in each for known in (key(1), key(2, state="resolved"), key(3)))
        assert not any(unknown in each for unknown in (key(2), key(1, state="resolved"), key(4)))
        assert len(each) == 3
        assert each.failures() == [Failed(key(3), "400: no")]


def test_an_alert_is_known_whatever_day_it_is_offered_under(root: storage.Location):
    log(root).add([key(1, TODAY - 1)])
    assert key(1, TODAY) in log(root)


def test_writers_side_by_side_see_each_other(root: storage.Location):
    one, two = log(root), log(root)
    one.add([key(1)])
    assert key(1) not in two
    two.refresh()
    assert key(1) in two
    two.add([key(2)])
    one.refresh()
    assert key(2) in one


@pytest.mark.parametrize("count", [1, MERGED_FILES, MERGED_FILES**2 + 3])
def test_files_stay_few_however_many_additions_there_are(root: storage.Location, count: int):
    made = log(root)
    for number in range(count):
        made.add([key(number)])
    levels = 1 + (count > MERGED_FILES) + (count > MERGED_FILES**2) + (count > MERGED_FILES**3)
    assert len(files(root)) <= levels * (MERGED_FILES - 1) + 1
    again = log(root)
    assert all(key(number) in again for number in range(count))
    assert len(again) == count


def test_what_lies_a_fortnight_back_goes_and_is_not_sent_for_nobody_can_tell(root: storage.Location):
    made = log(root)
    for day in range(TODAY - 20, TODAY + 1):
        made.add([key(day, day)])
    for each in (made, log(root)):
        assert not any(each.is_too_old(key(day, day)) for day in range(TODAY - KEPT_DAYS, TODAY + 1))
        assert all(each.is_too_old(key(day, day)) for day in range(TODAY - 20, TODAY - KEPT_DAYS))
        assert key(-1, TODAY - 20) in each
        assert len(each) == KEPT_DAYS + 1
    assert len(files(root)) == KEPT_DAYS + 1


@pytest.mark.parametrize("day", [TODAY + 2, 2_932_896, 10**7])
def test_one_alert_from_the_far_future_makes_no_other_old(root: storage.Location, day: int):
    made = log(root)
    made.add([key(1, day), key(2)])
    again = log(root)
    assert not again.is_too_old(key(3))
    assert key(1, day) in again
    assert key(2) in again


def test_days_before_1970_are_days(root: storage.Location):
    log(root).add([key(1, -3)])
    assert key(1, -3) in log(root)
    assert key(2, -3) not in log(root)


@pytest.mark.parametrize("operations", range(0, 45, 2))
def test_a_log_whose_writer_is_killed_at_any_file_operation_has_all_that_it_took(
    root: storage.Location, operations: int
):
    made = log(root)
    for number in range(MERGED_FILES - 2):
        made.add([key(number, TODAY - 15), key(number)])
    taken = {key(number) for number in range(MERGED_FILES - 2)}
    with dying_after(operations, Path(root.path)), suppress(DiedError):
        for number in range(MERGED_FILES - 2, MERGED_FILES + 3):
            made.add([key(number), key(number, TODAY + 1, "resolved")])
            taken |= {key(number), key(number, TODAY + 1, "resolved")}
    again = log(root)
    assert all(known in again for known in taken)
    again.add([key(99)])
    assert key(99) in log(root)
    assert all(known in log(root) for known in taken)


@pytest.mark.parametrize("fail_at", range(1, 40, 2))
def test_a_log_in_an_object_store_that_fails_has_all_that_it_took(tmp_path: Path, fail_at: int):
    location, handler = store(tmp_path, fail_at)
    made = SentLog(location, "fleet", "hook", now=lambda: NOW)
    taken = []
    with suppress(SinkError, SourceError):
        made.refresh()
        for number in range(MERGED_FILES + 3):
            made.add([key(number)])
            taken.append(key(number))
    handler.fail_at = 10**9
    again = log(location)
    assert all(known in again for known in taken)


def test_files_that_are_merged_while_they_are_read_are_not_missed(root: storage.Location):
    stop = threading.Event()
    writer = log(root)
    added: list[Key] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            writer.add([key(number)])
            added.append(key(number))
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(15):
            so_far = list(added)
            fresh = log(root)
            assert all(known in fresh for known in so_far)
    finally:
        stop.set()
        thread.join()


def test_two_writers_that_merge_the_same_files_lose_nothing(root: storage.Location):
    writers = [log(root) for _ in range(3)]

    def write(place: int) -> None:
        for number in range(40):
            writers[place].refresh()
            writers[place].add([key(1000 * place + number)])

    threads = [threading.Thread(target=write, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = log(root)
    assert all(key(1000 * place + number) in again for place in range(3) for number in range(40))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(-16, 1), st.sampled_from(["firing", "resolved"])))))
def test_a_log_read_anew_says_what_its_writer_says(additions: list[list[tuple[int, int, str]]]):
    everything = [Key(f"a{n}", state, TODAY + day) for n in range(10) for day in (-16, -3) for state in ("firing", "x")]
    with tempfile.TemporaryDirectory() as folder:
        root, _ = store(Path(folder))
        made = log(root)
        for rows in additions:
            made.add([Key(f"a{n}", state, TODAY + day) for n, day, state in rows])
        again = log(root)
        assert [known in made for known in everything] == [known in again for known in everything]
        assert len(made) == len(again)


@pytest.mark.parametrize("content", [b"", b"{", b'{"entries":[["a"]]}', b"\xff"])
def test_a_damaged_file_is_named(root: storage.Location, content: bytes):
    made = log(root)
    made.add([key(1)])
    Path(root.path, files(root)[0]).write_bytes(content)
    with pytest.raises(SourceError, match="is damaged") as refused:
        log(root)
    assert files(root)[0] in refused.value.message
    assert "a second time" in refused.value.hint


def test_positions_are_replaced_and_the_lowest_of_all_writers_hold(root: storage.Location):
    made = log(root)
    assert made.positions() == {}
    made.note("one", {"t-abc/0": 5})
    made.note("one", {"t-abc/0": 7, "t-abc/1": 3})
    assert log(root).positions() == {"t-abc/0": 7, "t-abc/1": 3}
    made.note("two", {"t-abc/0": 9})
    assert log(root).positions() == {"t-abc/0": 7, "t-abc/1": 0}
    assert len(log(root)) == 0
    with pytest.raises(ValueError, match="not a writer's name"):
        made.note("../one", {})


def test_a_writer_that_is_gone_for_a_day_holds_nobody_back(root: storage.Location):
    log(root).note("gone", {"t/0": 1})
    later = SentLog(root, "fleet", "hook", now=lambda: NOW + 86_401)
    assert later.positions() == {"t/0": 1}
    later.note("here", {"t/0": 50})
    assert later.positions() == {"t/0": 50}


@pytest.mark.parametrize("operations", range(6))
def test_positions_of_a_writer_that_is_killed_are_the_old_or_the_new_ones(root: storage.Location, operations: int):
    made = log(root)
    made.note("one", {"p": 1})
    with dying_after(operations, Path(root.path)), suppress(DiedError):
        made.note("one", {"p": 2})
    assert log(root).positions() in ({"p": 1}, {"p": 2})
