"""What documents say to type works: blocks below ``<!-- tested -->`` are run, in order, each document in a folder."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"^<!-- (?P<mark>tested|file: (?P<file>[\w.-]+)) -->\n+^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
MARK = re.compile(r"^<!-- (?:tested\b|file:)", re.MULTILINE)
SECONDS = 120


@dataclass(frozen=True)
class Block:
    """One marked block."""

    language: str
    text: str
    file: str | None


def blocks(document: str) -> list[Block]:
    return [Block(found["language"], found["text"], found["file"]) for found in BLOCK.finditer(document)]


def commands(text: str) -> Iterator[list[str]]:
    """The lines that start telebeam, each as its arguments; a line that ends in a backslash goes on."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("telebeam "):
            yield shlex.split(line, comments=True)[1:]


def run(arguments: list[str], folder: Path, text: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def run_python(text: str, folder: Path) -> None:
    run(["-c", text], folder, text)


def run_sh(text: str, folder: Path) -> None:
    found = list(commands(text))
    assert found, f"no line begins with telebeam:\n{text}"
    for arguments in found:
        run(["-m", "telebeam.pipelines.cli", *arguments], folder, shlex.join(arguments))


def run_sql(text: str, folder: Path) -> None:
    with duckdb.connect() as connection:
        for statement in connection.extract_statements(text.replace("'lake/", f"'{folder}/lake/")):
            assert connection.execute(statement).fetchall(), text


RUN: dict[str, Callable[[str, Path], None]] = {"python": run_python, "sh": run_sh, "sql": run_sql}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = [path for path in DOCUMENTS if MARK.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.name)
def test_what_a_document_says_to_type_works(path: Path, tmp_path: Path):
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        else:
            RUN[block.language](block.text, tmp_path)


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.name)
def test_no_mark_stands_without_a_block_that_can_be_run(path: Path):
    document = path.read_text(encoding="utf-8")
    found = blocks(document)
    assert len(found) == len(MARK.findall(document))
    assert {block.language for block in found if block.file is None} <= set(RUN)


def test_marked_blocks_are_found_with_their_language():
    document = "text\n<!-- tested -->\n```sh\ntelebeam run a\n```\n```sh\nrm -r /\n```\n"
    document += "<!-- file: a.yaml -->\n\n```yaml\nx: 1\n```\n"
    assert blocks(document) == [Block("sh", "telebeam run a\n", None), Block("yaml", "x: 1\n", "a.yaml")]


def test_only_lines_that_begin_with_telebeam_are_run():
    text = "make setup\ntelebeam run 'a b.yaml' \\\n  --json  # ends with JSON\nsudo telebeam x\n"
    assert list(commands(text)) == [["run", "a b.yaml", "--json"]]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Block("python", "raise SystemExit('no')", None), "no"),
        (Block("sh", "telebeam run absent.yaml\n", None), "absent.yaml"),
        (Block("sh", "make demo\n", None), "no line begins"),
    ],
)
def test_a_block_that_fails_is_found(block: Block, words: str, tmp_path: Path):
    with pytest.raises(AssertionError, match=words):
        RUN[block.language](block.text, tmp_path)
