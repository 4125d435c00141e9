from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from telebeam.pipelines.runtimes.installs import RuntimeUnavailableError, cache, installed, java, require, step, tail

SLOW_BUILD = """
import sys, time
from pathlib import Path
from telebeam.pipelines.runtimes.installs import installed

def build(folder):
    (folder / "half").touch()
    Path(sys.argv[1]).open("a").write("build\\n")
    time.sleep(float(sys.argv[2]))
    (folder / "whole").touch()

installed("thing-1", build)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write(folder: Path) -> None:
    (folder / "half").touch()
    (folder / "whole").touch()


def fail(folder: Path) -> None:
    (folder / "half").touch()
    step("thing", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], folder)


def slow_build(log: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLOW_BUILD, log, str(seconds)])


def folders() -> list[str]:
    return sorted(path.name for path in cache().iterdir() if path.is_dir())


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_there_is_not_built_again():
    first = installed("thing-1", write)
    assert installed("thing-1", fail) == first
    assert (first / "whole").exists()


def test_of_two_processes_at_once_one_builds_and_both_have_it(tmp_path: Path):
    builds = [slow_build(tmp_path / "log", 0.5) for _ in range(3)]
    assert [build.wait() for build in builds] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "build\n"
    assert folders() == ["thing-1"]


def test_a_killed_build_leaves_nothing_that_looks_whole_and_the_next_one_cleans_up(tmp_path: Path):
    build = slow_build(tmp_path / "log", 60)
    wait_for(tmp_path / "log")
    build.send_signal(signal.SIGKILL)
    build.wait()
    assert not (cache() / "thing-1").exists()
    assert (installed("thing-1", write) / "whole").exists()
    assert folders() == ["thing-1"]


def test_a_build_that_fails_says_why_and_leaves_nothing():
    with pytest.raises(RuntimeUnavailableError, match=r"thing can't be installed: .* ends with code 3 .*\nthe reason"):
        installed("thing-1", fail)
    assert folders() == []
    assert (installed("thing-1", write) / "whole").exists()


def test_a_cache_that_cannot_be_written_says_so(home: Path):
    home.write_text("no folder")
    with pytest.raises(RuntimeUnavailableError, match=r"thing-1 can't be installed into .*\n  hint: make the folder"):
        installed("thing-1", write)


def test_missing_tools_are_named_with_what_they_are():
    with pytest.raises(RuntimeUnavailableError, match=r"X can't be .*: no-such-tool \(a tool\)\n  hint: .* or go home"):
        require("X", {"no-such-tool": "a tool", "sh": "a shell"}, "go home")


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ('openjdk version "11.0.2" 2019-01-15', 'says: openjdk version "11.0.2"'),
        ('java version "1.8.0_292"', 'says: java version "1.8.0_292"'),
        ("something else", "says: something else"),
        ("", "says: nothing"),
    ],
)
def test_a_java_that_is_too_old_or_none_at_all_is_refused(
    says: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JAVA_HOME", str(java_that(tmp_path, says)))
    with pytest.raises(RuntimeUnavailableError, match="Kafka needs Java 17 or newer") as caught:
        java("Kafka", 17)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "says", ['openjdk version "17" 2021', 'openjdk version "21.0.1"', 'Picked up X\nopenjdk version "25-ea" 2025']
)
def test_a_java_that_is_new_enough_is_taken(says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = java_that(tmp_path, says)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java("Kafka", 17) == str(home / "bin" / "java")


def java_that(folder: Path, says: str) -> Path:
    (folder / "bin").mkdir()
    program = folder / "bin" / "java"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\n" if says else "#!/bin/sh\n")
    program.chmod(0o755)
    return folder


def test_the_end_of_a_log_is_shown_whatever_is_in_it(tmp_path: Path):
    (tmp_path / "log").write_bytes(b"\xff\n" * 100 + b"last\n")
    assert tail(tmp_path / "log", 2) == "�\nlast"
    assert tail(tmp_path / "none") == "(nothing)"
