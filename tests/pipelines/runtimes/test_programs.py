"""What is looked for and asked for: Prism, jars, and the script that starts workers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from telebeam.pipelines.runtimes import workers
from telebeam.pipelines.runtimes.flink import FlinkJobServer
from telebeam.pipelines.runtimes.golang import beam_version
from telebeam.pipelines.runtimes.installs import RuntimeUnavailableError, cache
from telebeam.pipelines.runtimes.maven import Artifact, pom
from telebeam.pipelines.runtimes.prism import find_prism, prism_binary
from telebeam.transforms.errors import ConfigurationError

MARK = "# github.com/apache/beam/sdks/v2/go/cmd/prism\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account without any program, but for the system's."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("TELEBEAM_PRISM", raising=False)
    return home


def program(path: Path, text: str = MARK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


def test_prism_is_looked_for_by_variable_path_go_and_cache_in_this_order(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    places = [
        cache() / f"prism-{beam_version()}" / "prism", home / "go" / "bin" / "prism", tmp_path / "bin" / "prism",
    ]  # fmt: skip
    for place in places:
        program(place)
        assert prism_binary() == place
        assert find_prism() == str(place)
    named = program(tmp_path / "mine", "")
    monkeypatch.setenv("TELEBEAM_PRISM", str(named))
    assert prism_binary() == named


def test_another_program_called_prism_is_not_taken(tmp_path: Path):
    program(tmp_path / "bin" / "prism", "echo a theorem prover\n")
    (tmp_path / "home" / "go" / "bin").mkdir(parents=True)
    (tmp_path / "home" / "go" / "bin" / "prism").touch(0o755)
    with pytest.raises(RuntimeUnavailableError, match="Prism is not on this machine\n  hint: go install"):
        find_prism()


def test_a_variable_that_names_no_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TELEBEAM_PRISM", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"TELEBEAM_PRISM names {tmp_path}, which is no program"):
        find_prism()


def test_a_pom_asks_for_what_is_named_and_leaves_out_what_is_not_wanted():
    text = pom("a&b", [Artifact("g", "one", "1"), Artifact("g", "two", "2", without="h")])
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    root = ElementTree.fromstring(text)
    assert root.findtext("m:artifactId", namespaces=space) == "a&b"
    asked = ["".join(one.itertext()).split() for one in root.iterfind(".//m:dependency", space)]
    assert asked == [["g", "one", "1"], ["g", "two", "2", "h", "*"]]


def test_a_job_server_jar_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"none\.jar: there is no such jar"):
        FlinkJobServer(tmp_path, jar=tmp_path / "none.jar")


TELL = """
echo "$@"
python -m pip show apache-beam && python -m pip freeze --all || exit
echo options > pipeline_options.json
export PIPELINE_OPTIONS_FILE=pipeline_options.json
exec python -c '
import os, sys
print(sys.executable, os.environ["PIPELINE_OPTIONS_FILE"], os.getcwd(), sys.argv, sep="\\n")
' 'a b'
"""
STAY = """
echo $$
python -c 'import os, time; print(os.getpid(), flush=True); time.sleep(300)'
"""
SYSTEM = {"PATH": "/usr/bin:/bin"}


def boot_program(text: str) -> None:
    """In the place of Beam's: a script that tells how it was called, or that stays."""
    program(cache() / f"container-{beam_version()}" / "container", text)


def test_a_worker_is_the_interpreter_at_home_where_the_runner_is(tmp_path: Path):
    boot_program(TELL)
    folder, home = tmp_path / "it's a folder", tmp_path / "where the runner is"
    home.mkdir()
    script = workers.worker_boot(folder)
    done = subprocess.run([script, "--id=1 2"], capture_output=True, text=True, env=SYSTEM, cwd=home, check=True)
    called, executable, options, where, arguments = done.stdout.splitlines()
    assert re.fullmatch(f"--semi_persist_dir={re.escape(str(folder))}/worker-.{{6}} --id=1 2", called)
    assert Path(executable) == Path(sys.executable)
    assert Path(options).read_text() == "options\n"
    assert where == str(home)
    assert arguments == "['-c', 'a b']"
    assert not list(home.iterdir())


def test_workers_end_with_a_killed_runner(tmp_path: Path):
    boot_program(STAY)
    start = "import subprocess, sys; subprocess.run(sys.argv[1])"
    command = [sys.executable, "-c", start, str(workers.worker_boot(tmp_path / "workers"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=SYSTEM) as runner:
        assert runner.stdout is not None
        boot, worker = (int(runner.stdout.readline()) for _ in range(2))
        runner.kill()
        deadline = time.monotonic() + 10
        while is_there(boot) or is_there(worker):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def is_there(number: int) -> bool:
    """Whether a process runs; one that ended and that nobody asked for stays as an entry without a command."""
    asked = ["ps", "-o", "stat=", "-p", str(number)]
    state = subprocess.run(asked, capture_output=True, text=True, check=False, env=SYSTEM).stdout
    return bool(state) and not state.startswith("Z")


def test_beam_is_given_the_script_as_json():
    kind, config = workers.process_options(Path('/a "b"/boot.sh'))
    assert kind == "--environment_type=PROCESS"
    assert json.loads(config.partition("=")[2]) == {"command": '/a "b"/boot.sh'}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo 2.1.0", "has apache-beam 2.1.0; expected"),
        ("exit 1", "has no apache-beam; expected"),
        (None, "is no Python for workers"),
    ],
)
def test_an_environment_with_another_beam_is_refused(text: str | None, words: str, tmp_path: Path):
    python = tmp_path / "python" if text is None else program(tmp_path / "python", text)
    with pytest.raises(RuntimeUnavailableError, match=words):
        workers.worker_boot(tmp_path / "folder", python)
