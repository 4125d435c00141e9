"""The graph for Dataflow: what is handed over, and, by a local runner, what it does to messages."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.coders import registry
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.stager import Stager
from apache_beam.testing import test_pipeline, test_stream
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from telebeam.io.lake import Lake
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.pubsub.ptransforms import GatherMessages
from telebeam.pipelines.cli import main
from telebeam.pipelines.config import load_config
from telebeam.pipelines.dataflow import build_dataflow, check_dataflow, follow, submit
from telebeam.pipelines.dataflow_files import FileParts, Part, hash_of, sharded
from telebeam.pipelines.dataflow_windows import CloseWindows
from telebeam.pipelines.flex import launch
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.coders import RecordBatchCoder
from telebeam.transforms.errors import ConfigurationError, TelebeamError
from telebeam.transforms.schema import ENVELOPES
from tests.pipelines.jobs import NOW, job, json_lines, tree
from tests.pipelines.test_graph import INFLUX, Labels

PUBSUB = "source={pubsub: {subscription: projects/fleet-prod/subscriptions/telemetry, id_attribute: uid}}"
IN_BUCKET = "sinks.lake.path=gs://fleet-lake/lake"
PLACE = ["--project=fleet-prod", "--region=europe-west1", "--temp_location=gs://fleet-temp/temp"]
DRY = ["--dry_run=True", "--no_auth"]


@pytest.fixture(scope="module", autouse=True)
def _google() -> None:
    if importlib.util.find_spec("apitools") is None and importlib.util.find_spec("google.cloud.storage") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("apache-beam[gcp] is not installed; make setup installs it")
        pytest.skip("apache-beam[gcp] is not installed: pip install 'telebeam[dataflow]'")


@pytest.fixture
def minimal(root: Path) -> Path:
    return root / "tests/fixtures/configs/minimal.yaml"


def options(*more: str) -> PipelineOptions:
    return PipelineOptions(["--runner=DataflowRunner", "--streaming", *PLACE, *more])


def stream_spec(minimal: Path, lake: Path, *overrides: str) -> PipelineSpec:
    return load_config(minimal, [PUBSUB, f"sinks.lake.path={lake}", "quality.max_age_days=null", *overrides])


# What is handed over


@pytest.fixture(scope="module")
def translated() -> Any:
    """The job as Dataflow would get it; some seconds, for Google's clients are imported."""
    config = Path(__file__).parents[1] / "fixtures/configs/minimal.yaml"
    pipeline = beam.Pipeline(options=options(*DRY))
    build_dataflow(pipeline, load_config(config, [PUBSUB, IN_BUCKET, f"sinks.influxdb={INFLUX}"]), NOW)
    return pipeline.run().job


def test_messages_are_read_by_dataflows_own_source(translated: Any):
    transforms = translated.proto_pipeline.components.transforms.values()
    (read,) = (step for step in transforms if step.spec.urn == "beam:transform:pubsub_read:v1")
    payload = beam_runner_api_pb2.PubSubReadPayload.FromString(read.spec.payload)
    assert payload.subscription == "projects/fleet-prod/subscriptions/telemetry"
    assert payload.id_attribute == "uid"
    assert payload.with_attributes


def test_no_source_of_ours_is_in_it(translated: Any):
    steps = [s for s in translated.proto_pipeline.components.transforms.values() if "pardo" in s.spec.urn]
    payloads = [beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload) for step in steps]
    assert payloads
    assert not [payload for payload in payloads if payload.restriction_coder_id]


def test_it_is_a_stream(translated: Any):
    assert translated.options.view_as(StandardOptions).streaming
    bounds = {p.is_bounded for p in translated.proto_pipeline.components.pcollections.values()}
    assert bounds == {beam_runner_api_pb2.IsBounded.UNBOUNDED}


def test_batches_travel_as_arrow_never_as_pickles():
    kinds = (pa.RecordBatch, tuple[int, pa.RecordBatch], Part)
    found = [registry.get_coder(convert_to_beam_type(kind)) for kind in kinds]
    assert isinstance(found[0], RecordBatchCoder)
    assert all(isinstance(coder.coders()[-1], RecordBatchCoder) for coder in found[1:])


def test_the_labels_of_the_steps_stay_as_they_are(minimal: Path, root: Path, golden: Callable[[Path, str], None]):
    def trees() -> Iterator[str]:
        for name, overrides in {"lake": [], "lake and InfluxDB": [f"sinks.influxdb={INFLUX}"]}.items():
            pipeline = beam.Pipeline("FnApiRunner")
            build_dataflow(pipeline, load_config(minimal, [PUBSUB, *overrides]), NOW)
            labels = Labels()
            pipeline.visit(labels)
            yield "\n".join([f"# {name}", *labels.found, ""])

    header = (
        "# The label of each step of a job on Dataflow, by sinks; pytest --rewrite-golden writes this file anew.\n\n"
    )
    golden(root / "tests/golden/labels-dataflow.txt", header + "\n".join(trees()))


# What it does to messages


def record(number: int, second: float, value: float = 20.0, device: str = "dev-1") -> dict[str, Any]:
    moment = f"2026-01-01T{int(second) // 3600:02}:{int(second) // 60 % 60:02}:{second % 60:09.6f}Z"
    return {"device_id": device, "timestamp": moment, "sensor_type": "temperature", "value": value + number}


def messages(lines: Sequence[bytes], first_id: int = 10**15) -> list[PubsubMessage]:
    return [PubsubMessage(line, {}, str(first_id + 7 * n)) for n, line in enumerate(lines)]


def run(source: Any, spec: PipelineSpec, runner: str = "FnApiRunner", **settings: Any) -> None:
    streaming = runner == "BundleBasedDirectRunner"
    with test_pipeline.TestPipeline(runner, PipelineOptions(streaming=streaming)) as pipeline:
        gather = beam.ParDo(GatherMessages("telemetry")).with_output_types(pa.RecordBatch)
        follow(pipeline | source | gather, spec, NOW, clock=NOW.timestamp, **settings)


def without_origin(table: pa.Table) -> list[dict[str, Any]]:
    names = [name for name in table.schema.names if not name.startswith("source") and name != "rejected_at"]
    return sorted(table.select(names).to_pylist(), key=repr)


def test_a_stream_gives_what_a_batch_over_the_same_records_gives(minimal: Path, tmp_path: Path):
    """Some ten seconds, for each window is a computation of its own."""
    records = [record(n % 9, (n * 37) % 600 + n / 1000, device=f"dev-{n % 5}") for n in range(900)]
    path = json_lines(tmp_path / "in.jsonl", records)
    with path.open("a") as file:
        file.write('{broken\n{"device_id": "dev-1", "timestamp": "yesterday", "sensor_type": "t", "value": 1}\n')
    batch = job(tmp_path / "batch", "jsonl", path)
    batch.run()
    run(beam.Create(messages(path.read_bytes().splitlines())), stream_spec(minimal, tmp_path / "stream"), shards=3)
    lake = Lake(str(tmp_path / "stream"))
    assert without_origin(lake.readings()) == without_origin(batch.readings())
    assert without_origin(lake.rejects()) == without_origin(batch.rejects())
    assert without_origin(lake.windows(60)) == without_origin(batch.windows())
    assert lake.windows(60).num_rows == 50


def lines(*records: dict[str, Any]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


def live(*parts: Sequence[bytes], watermarks: Sequence[float]) -> test_stream.TestStream:
    """Messages that come one part after the other, each filed, and the watermark, in seconds of 2026, behind each."""
    start = 1_767_225_600
    stream = test_stream.TestStream().advance_processing_time(NOW.timestamp())
    for number, (part, second) in enumerate(zip(parts, watermarks, strict=True)):
        stream = stream.add_elements(messages(part, 10**15 + 10**9 * number)).advance_processing_time(60)
        stream = stream.advance_watermark_to(start + second)
    return stream.advance_watermark_to_infinity()


def test_a_reading_in_time_revises_a_window_that_has_closed(minimal: Path, tmp_path: Path):
    spec = stream_spec(minimal, tmp_path, 'windows=[{every: "1m", allowed_lateness: "10m"}]')
    run(
        live(lines(record(0, 30), record(1, 95)), lines(record(2, 40)), watermarks=[100, 200]),
        spec,
        "BundleBasedDirectRunner",
        shards=1,
    )
    files = [path for path in tree(tmp_path) if path.startswith("windows/")]
    assert len(files) == 3
    found = Lake(str(tmp_path)).windows(60).to_pylist()
    assert [(row["count"], row["revision"]) for row in found] == [(2, 1), (1, 0)]


def test_a_reading_that_is_too_late_is_in_the_lake_and_in_no_window(minimal: Path, tmp_path: Path):
    late = live(lines(record(0, 30), record(1, 400)), lines(record(2, 40)), watermarks=[450, 500])
    run(late, stream_spec(minimal, tmp_path), "BundleBasedDirectRunner", shards=1)
    lake = Lake(str(tmp_path))
    assert [row["is_late"] for row in sorted(lake.readings().to_pylist(), key=lambda row: row["value"])] == [
        False, False, True,
    ]  # fmt: skip
    assert lake.windows(60)["count"].to_pylist() == [1, 1]


def test_nothing_is_late_by_the_messages_that_it_came_with(minimal: Path, tmp_path: Path):
    backlog = lines(*(record(n, 3600 - 60 * n - 1) for n in range(12)))
    run(beam.Create(messages(backlog)), stream_spec(minimal, tmp_path), shards=1)
    assert sum(Lake(str(tmp_path)).readings()["is_late"].to_pylist()) == 0
    assert Lake(str(tmp_path)).windows(60).num_rows == 12


def test_messages_of_one_interval_make_one_file_a_shard(minimal: Path, tmp_path: Path):
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        batches = [envelopes(n, 5) for n in range(100)]
        follow(pipeline | beam.Create(batches), stream_spec(minimal, tmp_path), NOW, shards=2, clock=NOW.timestamp)
    assert Lake(str(tmp_path)).readings().num_rows == 500
    assert len([path for path in tree(tmp_path) if path.startswith("readings/")]) == 2


def envelopes(number: int, rows: int) -> pa.RecordBatch:
    payloads = lines(*(record(n, number / 10) for n in range(rows)))
    offsets = [number * 1000 + n for n in range(rows)]
    return pa.record_batch([payloads, [None] * rows, ["t"] * rows, [0] * rows, offsets], schema=ENVELOPES)


def test_a_part_that_is_written_twice_is_written_once(minimal: Path, tmp_path: Path):
    spec = stream_spec(minimal, tmp_path)
    for _ in range(2):
        with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
            follow(pipeline | beam.Create([envelopes(1, 9)]), spec, NOW, shards=2, clock=NOW.timestamp)
        files = tree(tmp_path)
        assert sum("readings/" in path for path in files) == sum("windows/" in path for path in files) == 1
    assert Lake(str(tmp_path)).readings().num_rows == 9


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_slices_hold_every_message_once(rows: int):
    parts = list(sharded(envelopes(1, rows), 4))
    assert sum(part.num_rows for _, part in parts) == rows
    assert all(0 <= shard < 4 for shard, _ in parts)


def test_large_messages_are_moved_by_few():
    big = pa.record_batch([[b"x" * 3_000_000] * 4, [None] * 4, ["t"] * 4, [0] * 4, range(4)], schema=ENVELOPES)
    assert [part.num_rows for _, part in sharded(big, 4)] == [1, 1, 1, 1]


def test_other_messages_have_another_number():
    assert len({hash_of(envelopes(n, rows)) for n in range(20) for rows in range(1, 20)}) == 380


def test_our_steps_keep_beams_own_attributes():
    lake = LakeSpec(path="lake")
    assert FileParts(lake, "fleet", "s", "readings").pipeline is None
    assert CloseWindows(lake, "fleet", (), 0).pipeline is None


# What is refused before anything is started


@pytest.mark.parametrize(
    ("overrides", "given", "words"),
    [
        ([], ["--region=europe-west1", "--temp_location=gs://fleet-temp/t"], "--project is missing"),
        ([], ["--project=p", "--temp_location=gs://fleet-temp/t"], "--region is missing"),
        ([], ["--project=p", "--region=Europe", "--temp_location=gs://fleet-temp/t"], "'Europe' is not one"),
        ([], ["--project=p", "--region=europe-west1"], "--temp_location is missing"),
        ([], ["--project=p", "--region=europe-west1", "--temp_location=gs://b/t"], "'gs://b/t' is not one"),
        ([], ["--project=p", "--region=europe-west1", "--temp_location=/tmp/t"], "'/tmp/t' is not one"),
        ([], PLACE, "workers would not find telebeam"),
        ([], [*PLACE, *DRY, "--dataflow_service_options=streaming_mode_at_least_once"], "in the lake twice"),
        (["sinks.lake.path=lake"], [*PLACE, *DRY], "sinks.lake.path: lake is a place of this machine"),
        (["sinks.lake.path=file:///lake"], [*PLACE, *DRY], "is a place of this machine"),
        (["sinks.lake=null", f"sinks.influxdb={INFLUX}"], [*PLACE, *DRY], "a stream needs sinks.lake"),
        (["source.pubsub.endpoint=http://localhost:8085"], [*PLACE, *DRY], "would not be read"),
        (["source={jsonl: {path: 'in/*.jsonl'}}"], [*PLACE, *DRY], "source.jsonl.path: in/*.jsonl is a place"),
    ],
)
def test_what_is_missing_is_said_at_once(minimal: Path, overrides: list[str], given: list[str], words: str):
    settings = PipelineOptions(["--runner=DataflowRunner", *given])
    with pytest.raises(ConfigurationError) as caught:
        check_dataflow(load_config(minimal, [PUBSUB, IN_BUCKET, *overrides]), settings)
    assert words in str(caught.value)
    assert caught.value.hint


def test_a_dry_run_of_beams_needs_no_network_and_says_so(minimal: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(["run", str(minimal), "--runner", "dataflow", "--set", PUBSUB, "--set", IN_BUCKET, "--", *PLACE, *DRY])
    assert caught.value.code == 0
    assert "nothing was submitted" in capsys.readouterr().err


def test_kafka_goes_there_by_telebeams_own_source(minimal: Path):
    kafka = "source={kafka: {bootstrap_servers: 'broker:9092', topics: [iot-telemetry]}}"
    spec = load_config(minimal, [kafka, IN_BUCKET])
    assert submit(spec, options(*DRY)).as_dict() == {
        "submitted": "translated for Dataflow; nothing was submitted", "job_id": None,
    }  # fmt: skip


def test_the_command_refuses_a_local_lake(minimal: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(["run", str(minimal), "--runner", "dataflow", "--set", PUBSUB, "--", *PLACE, *DRY])
    assert caught.value.code == 2
    assert "gs://BUCKET/lake" in capsys.readouterr().err


# The Flex Template's program


def config_file(folder: Path) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(
        "pipeline: fleet\nsource: {pubsub: {subscription: projects/fleet-prod/subscriptions/telemetry}}\n"
        "sinks: {lake: {path: gs://fleet-lake/lake}}\n"
    )
    return path


def test_a_template_launches_what_its_parameters_name(tmp_path: Path):
    passed = ["--runner=DataflowRunner", "--streaming", *PLACE, *DRY, "--sdk_container_image=telebeam:1"]
    parameters = [f"--config={config_file(tmp_path)}", "--set=time.file_every=10s;pipeline=other;"]
    assert "nothing was submitted" in launch([*parameters, *passed]).words


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ([], "--config"),
        (["--config={folder}/absent.yaml"], "there is no such file"),
        (["--config={config}", "--set=nonsense"], "nonsense"),
        (["--config={config}", "--set=source={jsonl: {path: gs://b/x}}"], "source.jsonl is an archive"),
        (["--config={config}", "--no_such_option=1"], "no_such_option"),
    ],
)
def test_wrong_parameters_are_named(tmp_path: Path, parameters: list[str], words: str):
    places = {"folder": tmp_path, "config": config_file(tmp_path)}
    given = [text.replace("{config}", str(places["config"])).replace("{folder}", str(tmp_path)) for text in parameters]
    with pytest.raises(TelebeamError, match=words):
        launch([*given, *PLACE, *DRY])


# What workers install


def test_the_distribution_that_beam_makes_of_setup_py_holds_every_module(root: Path, tmp_path: Path):
    checkout, folders = tmp_path / "checkout", ("pipelines", "transforms", "io", "dashboards")
    checkout.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(root / name, checkout)
    for name in folders:
        shutil.copytree(root / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    made = Stager._build_setup_package(str(checkout / "setup.py"), str(tmp_path))
    with tarfile.open(made) as archive:
        found = {member.name.partition("/")[2] for member in archive}
    modules = {p.relative_to(checkout).as_posix() for name in folders for p in (checkout / name).rglob("*.py*")}
    assert modules
    assert not modules - found
