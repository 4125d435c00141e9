"""The Flex Template and the image are what the code and the pinned set need."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from telebeam.pipelines.flex import parser

KINDS = {"TEXT", "GCS_READ_FILE"}
FITTING = {
    "config": ["gs://bucket/fleet.yaml", "gs://bucket/folder/live.yml"],
    "set": ["a.b=c", "a=b;c.d=[1, 2];", "source.pubsub.subscription=projects/p/subscriptions/s"],
    "sdk_container_image": ["europe-west1-docker.pkg.dev/p/r/telebeam:0.1.0", "gcr.io/p/telebeam@sha256:0a"],
}
UNFITTING = {
    "config": ["fleet.yaml", "gs://bucket", "s3://bucket/fleet.yaml", "gs:///fleet.yaml", ""],
    "set": ["a", "=b", ";", ""],
    "sdk_container_image": ["", "has space", "/absolute"],
}


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "docs/dataflow"


@pytest.fixture
def parameters(folder: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["parameters"]
    assert len({each["name"] for each in found}) == len(found)
    return {each["name"]: each for each in found}


def ours() -> dict[str, bool]:
    """What the program reads of its own → whether it needs it."""
    return {action.dest: action.required for action in parser()._actions}


def beams() -> set[str]:
    return set(PipelineOptions().get_all_options())


def test_every_parameter_is_said_in_full(parameters: dict[str, dict[str, Any]]):
    for name, each in parameters.items():
        assert set(each) == {"name", "label", "helpText", "paramType", "isOptional", "regexes"}, name
        assert re.fullmatch(r"[a-z_]+", name)
        assert each["label"]
        assert each["helpText"].endswith(".")
        assert each["paramType"] in KINDS
        assert isinstance(each["isOptional"], bool)


def test_the_template_is_a_stream_that_takes_each_message_once(folder: Path):
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["name"]
    assert metadata["description"]
    assert (metadata["streaming"], metadata["supportsExactlyOnce"], metadata["supportsAtLeastOnce"]) == (
        True, True, False,
    )  # fmt: skip


def test_the_program_reads_every_parameter_and_no_other(parameters: dict[str, dict[str, Any]]):
    assert set(ours()) <= set(parameters)
    assert set(parameters) - set(ours()) <= beams()
    assert {name: not parameters[name]["isOptional"] for name in ours()} == ours()


def test_what_fits_a_parameter_is_taken_and_nothing_else(parameters: dict[str, dict[str, Any]]):
    assert set(FITTING) == set(UNFITTING) == set(parameters)
    for name, each in parameters.items():
        patterns = [re.compile(pattern) for pattern in each["regexes"]]
        assert all(pattern.fullmatch(text) for pattern in patterns for text in FITTING[name]), name
        assert not [text for text in UNFITTING[name] if all(pattern.fullmatch(text) for pattern in patterns)], name


def test_every_parameter_is_in_the_guide(folder: Path, parameters: dict[str, dict[str, Any]]):
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == {name: "no" if each["isOptional"] else "yes" for name, each in parameters.items()}


# The image


@pytest.fixture
def steps(folder: Path) -> list[tuple[str, str]]:
    """The Dockerfile's instructions."""
    text = re.sub(r"^#.*\n", "", (folder / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [tuple(line.split(maxsplit=1)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]  # type: ignore[misc]


def values(steps: list[tuple[str, str]], instruction: str) -> list[str]:
    return [value for name, value in steps if name == instruction]


def version_of(root: Path) -> str:
    tree = ast.parse((root / "setup.py").read_text(encoding="utf-8"))
    (found,) = (k.value for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg == "version")
    return str(ast.literal_eval(found))


def test_workers_have_the_beam_and_the_python_that_are_pinned(root: Path, steps: list[tuple[str, str]]):
    (beam,) = re.findall(r"^apache-beam==(\S+)", (root / "requirements.txt").read_text(), re.MULTILINE)
    assert values(steps, "FROM")[-1] == f"apache/beam_python3.11_sdk:{beam}"
    assert "/python311-template-launcher-base:" in values(steps, "FROM")[0]


def test_the_image_holds_the_pinned_set_and_this_telebeam(root: Path, steps: list[tuple[str, str]]):
    commands = " && ".join(values(steps, "RUN"))
    archive = f"telebeam-{version_of(root)}.tar.gz"
    assert "--requirement requirements.txt" in commands
    assert f"--no-deps {archive}" in commands
    assert "pip check" in commands
    assert f"dist/{archive}" in " ".join(values(steps, "COPY"))


def test_the_image_serves_workers_and_the_launcher(root: Path, steps: list[tuple[str, str]]):
    assert values(steps, "ENTRYPOINT") == ['["/opt/apache/beam/boot"]']
    launcher = "/opt/google/dataflow/python_template_launcher"
    assert f"--from=launcher {launcher} {launcher}" in values(steps, "COPY")
    (program,) = (v.partition("=")[2] for v in values(steps, "ENV") if v.startswith("FLEX_TEMPLATE_PYTHON_PY_FILE"))
    assert Path(program).parent.as_posix() in values(steps, "WORKDIR")
    assert f"docs/dataflow/{Path(program).name}" in " ".join(values(steps, "COPY"))


def test_what_the_image_copies_is_there_or_built(root: Path, steps: list[tuple[str, str]]):
    copied = [path for value in values(steps, "COPY") if "--from" not in value for path in value.split()[:-1]]
    assert copied
    assert not [path for path in copied if not path.startswith("dist/") and not (root / path).is_file()]
