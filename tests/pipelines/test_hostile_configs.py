from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.pipelines.settings import describe_settings

CONFIGS = Path(__file__).resolve().parent.parent / "fixtures" / "configs"
MINIMAL = (CONFIGS / "minimal.yaml").read_text(encoding="utf-8")
FULL = (CONFIGS / "full.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; expected settings"),
        (b"# nothing\n---\n", "is empty; expected settings"),
        (b"- a\n- b\n", "found a list at the top; expected a mapping"),
        (b"just words", "found text at the top; expected a mapping"),
        (b"pipeline: fleet\n\tsource: x\n", "fleet.yaml:2: not YAML: a tab where YAML takes spaces"),
        (b"pipeline: a: b\n", "fleet.yaml:1: not YAML: a ': ' that doesn't fit here"),
        (b"pipeline: fleet\nsource\n", "fleet.yaml:3: not YAML: a line without 'key: value'"),
        (b"a:\n    b: 1\n  c: 2\n", "fleet.yaml:3: not YAML: an indentation that doesn't fit"),
        (b"pipeline: [a, b\n", "not YAML: a bracket that is not closed"),
        (b'pipeline: "a\n', "not YAML: a quote that is not closed"),
        (b"pipeline: fl\xe9et\n", "fleet.yaml:1: byte 0xe9 is not UTF-8"),
        (b"a: 1\nb: \xff\xfe\n", "fleet.yaml:2: byte 0xff is not UTF-8"),
        (b"\x00\x01\x02PAR1", "fleet.yaml:1: the character U+0000 is not text"),
        (b'pipeline: "a\\0b"\n', "fleet.yaml:1: the character U+0000 is not text"),
        (b'pipeline: "\\ud800"\n', "fleet.yaml:1: the character U+D800 is not text"),
        (b'pipeline: "\\UFFFFFFFF"\n', "an escape or a number that is no character"),
        (b"a: 1\n---\nb: 2\n", "fleet.yaml:2: a second document begins"),
        (b"pipeline: *nobody\n", "fleet.yaml:1: the alias *nobody has no finished anchor"),
        (b"pipeline: &a [*a]\n", "fleet.yaml:1: the alias *a has no finished anchor"),
        (b"pipeline: !!python/object/apply:os.system [ls]\n", "fleet.yaml:1: a YAML tag; expected plain values"),
        (b"? [a]\n: b\n", "fleet.yaml:1: a key must be text"),
        (b"[" * 5000, "nested more than 24 levels deep"),
        (b"{a: " * 5000, "nested more than 24 levels deep"),
        (b"- " * 5000, "nested more than 24 levels deep"),
        (b"a: 1\n" * 2_000_000, "is larger than 256 KiB"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_said_so(config, refusal, data, said):
    assert said in refusal(config(data))


def test_no_file_is_said_so(tmp_path, refusal):
    assert "there is no such file" in refusal(tmp_path / "absent.yaml")


def test_a_directory_is_said_so(tmp_path, refusal):
    assert "is a directory; expected a YAML file" in refusal(tmp_path)


def test_a_path_through_a_file_or_with_a_nul_is_said_so(config, refusal):
    assert "can't be read" in refusal(config(MINIMAL) / "x.yaml")
    refusal(Path("a\0b"))


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path, refusal):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_said_so(config, refusal):
    path = config(MINIMAL)
    path.chmod(0)
    assert "can't be read: Permission denied" in refusal(path)


def test_exploding_aliases_are_refused_before_they_explode(config, refusal):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    start = time.process_time()
    assert "more than 20000 values, with aliases followed" in refusal(config("\n".join(lines)))
    assert time.process_time() - start < 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text("abc:-[]{}&*!|>'\"%@#,? \n\t\\0uU~<.=", max_size=80).map(str.encode),
        st.tuples(st.integers(0, len(FULL)), st.text(max_size=8)).map(
            lambda cut: (FULL[: cut[0]] + cut[1] + FULL[cut[0] :]).encode("utf-8", "surrogatepass")
        ),
        st.tuples(st.integers(0, len(FULL)), st.integers(0, 30)).map(
            lambda cut: (FULL[: cut[0]] + FULL[cut[0] + cut[1] :]).encode()
        ),
    )
)
def test_any_bytes_give_settings_or_a_configuration_error(config, outcome, data):
    outcome(config(data))


HOSTILE_VALUES = (
    "1", "-1", "1.5", ".nan", "-.inf", "1e999", "9" * 60, "1e300", "999999999999999d", "true", "null", "''", "x",
    "x" * 5000, "2026-01-01", "[]", "[[]]", "[1m]", "[{}]", "[null]", "{}", "{a:}", "{a: {b: 1}}",
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([s.key.replace("[]", "[0]").replace("NAME", "temperature") for s in describe_settings()]),
    st.sampled_from(HOSTILE_VALUES),
)
def test_any_value_at_any_key_gives_settings_or_a_configuration_error(config, outcome, key, value):
    message = outcome(config(FULL), f"{key}={value}")
    assert "another value" not in message
    assert all(len(line) < 600 for line in message.splitlines())
