"""Beam's FnApiRunner with threads that do not tear elements apart.

With ``direct_running_mode=multi_threading`` Beam 2.77 starts workers whose output buffers are sent once a second by a
thread of their own, whatever stands in them (``DATA_BUFFER_TIME_LIMIT_MS`` in ``worker_handlers.py``,
``TimeBasedBufferingClosableOutputStream`` in ``data_plane.py``).  While a coder written in Python, or one that releases
the GIL as Arrow's does, encodes an element, the element's head goes out in one message and its value in another, and
the reader fails (``Invalid PaneInfoEncoding``) or, worse, takes one for the other.  Batch jobs need no such deadline:
buffers are sent when they are large and when a bundle ends.
"""

from __future__ import annotations

from typing import Any

from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonGrpcEnvironment, python_sdk_capabilities

_NEVER_MS = 2**31 - 1
"""Three weeks: 0 would be taken for nothing given, which is a second."""

_THREADS = "multi_threading"


class LocalRunner(FnApiRunner):
    """FnApiRunner; ``multi_threading`` is the one mode that differs."""

    def run_pipeline(self, pipeline: Any, options: Any) -> Any:
        """Runs a bounded pipeline to its end."""
        direct = options.view_as(DirectOptions)
        if direct.direct_running_mode == _THREADS:
            self._default_environment = EmbeddedPythonGrpcEnvironment(
                data_buffer_time_limit_ms=_NEVER_MS, capabilities=python_sdk_capabilities()
            )
            # Any other name keeps FnApiRunner from putting its own environment in place of this one.
            direct.direct_running_mode = f"{_THREADS}_whole_elements"
        return super().run_pipeline(pipeline, options)
