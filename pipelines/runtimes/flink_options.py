"""The options of Flink's job server, which Beam for Python does not know until it has asked one."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

_NUMBERS = (
    "auto_watermark_interval", "checkpoint_timeout_millis", "checkpointing_interval", "execution_retry_delay",
    "latency_tracking_interval", "max_bundle_size", "max_bundle_time_mills", "min_pause_between_checkpoints",
    "num_concurrent_checkpoints", "number_of_execution_retries", "shutdown_sources_after_idle_ms",
)  # fmt: skip
_TEXTS = (
    "checkpointing_mode", "flink_conf_dir", "savepoint_path", "state_backend", "state_backend_factory",
    "state_backend_storage_path",
)  # fmt: skip
_SWITCHES = (
    "allow_non_restored_state", "externalized_checkpoints_enabled", "finish_bundle_before_checkpointing",
    "object_reuse", "retain_externalized_checkpoints_on_cancellation", "unaligned_checkpoint_enabled",
)  # fmt: skip


class FlinkJobServerOptions(PipelineOptions):
    """Lets Beam read and hand over what the job server takes; nothing is set unless it is given.

    Beam finds the class by itself, as it does all of this kind.
    """

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        for name in _NUMBERS:
            parser.add_argument(f"--{name}", type=int)
        for name in _TEXTS:
            parser.add_argument(f"--{name}")
        for name in _SWITCHES:
            parser.add_argument(f"--{name}", action="store_true", default=None)


STREAMING = (
    "--checkpointing_interval=2000",
    # Without it a job may never emit anything: the first checkpoint catches Impulse's bundle.
    "--finish_bundle_before_checkpointing",
    "--max_bundle_time_mills=100",
)
"""What a stream needs of Flink, unless the user says otherwise."""

RETRIES = ("--number_of_execution_retries=20", "--execution_retry_delay=2000")
"""For a Flink of the user's: by itself it tries again without end, and what always fails would never be told."""

RESTARTS = {
    "restart-strategy.type": "failure-rate",
    "restart-strategy.failure-rate.max-failures-per-interval": "6",
    "restart-strategy.failure-rate.failure-rate-interval": "5 min",
    "restart-strategy.failure-rate.delay": "1 s",
}
"""Flink's settings: workers may be killed now and then as long as a job lives, and what always fails soon ends it."""


def write_settings(folder: Path) -> None:
    """Writes the configuration of an embedded Flink, for ``--flink_conf_dir``."""
    lines = [f"{key}: {value}\n" for key, value in RESTARTS.items()]
    (folder / "flink-conf.yaml").write_text("".join(lines), encoding="utf-8")


def given(options: Iterable[str], name: str) -> bool:
    """Whether an option is among those of a command line."""
    return any(text.split("=")[0] == f"--{name}" for text in options)


def value_of(options: Iterable[str], name: str) -> str:
    """What an option is set to, the last time that it is given; the empty text where it is not."""
    found = [text.partition("=")[2] for text in options if text.split("=")[0] == f"--{name}"]
    return found[-1] if found else ""


def unless_given(ours: Iterable[str], options: Sequence[str]) -> tuple[str, ...]:
    """Our options without those that the user has given."""
    return tuple(option for option in ours if not given(options, option.split("=")[0].removeprefix("--")))
