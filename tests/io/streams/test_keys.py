"""Where Flink puts readers."""

from __future__ import annotations

import pytest

from telebeam.io.streams.keys import key_group, reader_keys, reader_of


@pytest.mark.parametrize("readers", [1, 2, 3, 8, 16])
def test_each_reader_has_a_key_group_of_its_own(readers: int):
    keys = reader_keys(readers)
    assert [reader_of(key) for key in keys] == list(range(readers))
    assert [key_group(key, readers) for key in keys] == list(range(readers))


def test_keys_stand_where_flink_has_put_them():
    # Seen on Flink 1.19 with 128 key groups on four subtasks: which keys were worked on one after the other.
    subtasks = [{key for key in "01234567" if key_group(key, 128) // 32 == number} for number in range(4)]
    assert subtasks == [{"4", "6", "7"}, {"3"}, {"0", "2"}, {"1", "5"}]
