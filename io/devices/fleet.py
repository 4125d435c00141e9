"""The fleet that a configuration describes: its files, read on the worker that needs them."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Lock

from telebeam.io.devices.codecs import Codecs
from telebeam.io.devices.registry import RegistryFile
from telebeam.io.devices.types import load_codec, load_schema
from telebeam.transforms.devices.cayenne import decode_cayenne_lpp
from telebeam.transforms.devices.decoded import Decoded, Payloads
from telebeam.transforms.devices.fleet import Decode, Fleet, Validate
from telebeam.transforms.devices.spec import CAYENNE_LPP, DevicesSpec
from telebeam.transforms.errors import ConfigurationError

_NEVER = timedelta(days=36_500)
MOST_OPEN = 4
"""Runs of which a process keeps what it has read; another one reads its files again."""


@dataclass(frozen=True)
class FleetFiles:
    """Gives the fleet; small and picklable, and the workers of one process share what they have read.

    Args:
        spec: The registry's file and the types', with paths that are the same on every worker.
        run: A name of the run: another one reads the files again.
        refreshes: Whether the registry is read again when its file has changed; an archive is read by one registry.
    """

    spec: DevicesSpec
    run: str
    refreshes: bool

    def __call__(self) -> Fleet:
        """The fleet as it is now.

        Raises:
            ConfigurationError: A file can't be read, or what it holds is wrong.
        """
        return self._opened().fleet()

    def _opened(self) -> OpenFleet:
        with _LOCK:
            if self.run not in _OPEN:
                _OPEN[self.run] = OpenFleet(self.spec, self.refreshes)
                while len(_OPEN) > MOST_OPEN:
                    _OPEN.pop(next(iter(_OPEN))).close()
            return _OPEN[self.run]


class OpenFleet:
    """What the files of a configuration's devices hold, read and compiled.

    Args:
        spec: The registry's file and the types'.
        refreshes: Whether the registry is read again when its file has changed.

    Raises:
        ConfigurationError: A file can't be read, or what it holds is wrong.
    """

    def __init__(self, spec: DevicesSpec, refreshes: bool) -> None:
        if spec.registry is None:
            raise ConfigurationError("devices.registry is missing; expected a YAML or Parquet file")
        self._spec = spec
        self._registry = RegistryFile(spec.registry, spec.refresh if refreshes else _NEVER)
        self._v8 = Codecs()
        self._schemas: Mapping[str, Validate] = {
            name: load_schema(kind.data_schema)
            for name, kind in spec.types.items()
            if kind.data_schema is not None
        }  # fmt: skip
        self._codecs: Mapping[str, Decode] = {
            name: self._codec(kind.codec) for name, kind in spec.types.items() if kind.codec is not None
        }

    def _codec(self, name: str) -> Decode:
        return _cayenne_lpp if name == CAYENNE_LPP else partial(self._v8.decode, load_codec(name))

    def check(self) -> None:
        """Loads every codec.

        Raises:
            ConfigurationError: One is none.
        """
        for decode in self._codecs.values():
            if isinstance(decode, partial):
                self._v8.check(decode.args[0])

    def fleet(self) -> Fleet:
        """The fleet as it is now."""
        return Fleet(self._spec, self._registry(), self._codecs, self._schemas)

    def close(self) -> None:
        """Ends the processes of codecs; whoever decodes after that starts others."""
        self._v8.close()


_LOCK = Lock()
_OPEN: dict[str, OpenFleet] = {}
"""By run."""


@atexit.register
def close_fleets() -> None:
    """Ends the processes of all fleets of this process."""
    with _LOCK:
        while _OPEN:
            _OPEN.popitem()[1].close()


def _cayenne_lpp(messages: Payloads) -> Decoded:
    return decode_cayenne_lpp(messages.payloads)
