import time

import apache_beam as beam
import pytest
from apache_beam.coders import Coder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from telebeam.pipelines.local_runner import LocalRunner

THREADS = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]


class Slow:
    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slow) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class SlowCoder(Coder):
    """Encodes for longer than the second after which Beam sends what a buffer holds."""

    def encode(self, value: Slow) -> bytes:
        time.sleep(1.3)
        return value.text.encode()

    def decode(self, encoded: bytes) -> Slow:
        return Slow(encoded.decode())

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type:
        return Slow


beam.coders.registry.register_coder(Slow, SlowCoder)


def run(runner: FnApiRunner) -> None:
    with beam.Pipeline(runner, options=PipelineOptions(THREADS)) as pipeline:
        texts = (
            pipeline
            | beam.Create(["a"])
            | beam.Reshuffle()
            | beam.Map(lambda text: ("key", Slow(text))).with_output_types(tuple[str, Slow])
            | beam.GroupByKey()
            | beam.FlatMap(lambda pair: [slow.text for slow in pair[1]])
        )
        assert_that(texts, equal_to(["a"]))


@pytest.mark.filterwarnings("ignore")
def test_an_element_whose_encoding_takes_long_is_not_torn_apart() -> None:
    run(LocalRunner())


@pytest.mark.filterwarnings("ignore")
def test_beams_own_threads_still_tear_it_apart() -> None:
    """When this fails, Beam is mended and LocalRunner can go."""
    with pytest.raises(Exception, match=r".*"):  # which one, and in what words if any, depends on where it is torn
        run(FnApiRunner())
