"""An embedded Flink on this machine: a job server with Flink inside, from jars that Maven fetches.

``python -m telebeam.pipelines.runtimes.flink`` starts one, prints its endpoint and stays until it is told to stop.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from telebeam.pipelines.runtimes.installs import java
from telebeam.pipelines.runtimes.maven import Artifact, classpath, jars
from telebeam.pipelines.runtimes.processes import ServerProcess, ServerStartError, serve
from telebeam.transforms.errors import ConfigurationError

FLINK = "1.19"
BEAM_JAVA = "2.62.0"
"""The newest whose parts are all on Maven Central one by one; a newer Beam in Python talks to it."""
_CONFLUENT = "io.confluent"
"""Schema registries: their jars are not on Maven Central, and nothing here uses them."""
ARTIFACTS = (
    Artifact("org.apache.beam", f"beam-runners-flink-{FLINK}", BEAM_JAVA, without=_CONFLUENT),
    Artifact("org.apache.beam", "beam-sdks-java-io-kafka", BEAM_JAVA, without=_CONFLUENT),
    Artifact("org.apache.beam", "beam-sdks-java-expansion-service", BEAM_JAVA, without=_CONFLUENT),
    Artifact("org.slf4j", "slf4j-simple", "1.7.36"),
    Artifact("com.github.jbellis", "jamm", "0.4.0"),
)
READY_SECONDS = 120
HEAP_MEGABYTES = 1024
EMBEDDED = "[local]"

_EXPORTED = (
    "java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5",
    *(f"jdk.compiler/com.sun.tools.javac.{part}" for part in ("api", "file", "parser", "tree", "util")),
)  # fmt: skip
_OPENED = (
    "java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.text", "java.time",
    "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks",
)  # fmt: skip
OPENINGS = (
    *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED),
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
)
"""What Flink's own configuration opens: it serialises the JDK's classes, which Java 17 keeps shut."""

_STARTED = re.compile(rb"(JobService|ArtifactStagingService) started on (?:\S+):(\d+)")


def flink_jars() -> Path:
    """The folder of the job server's jars, fetched if they aren't there (a minute, 190 MB).

    Raises:
        RuntimeUnavailableError: Maven or Java is missing, or a jar can't be had.
    """
    return jars(f"flink-{FLINK}-beam-{BEAM_JAVA}", ARTIFACTS, f"Flink {FLINK} for Beam, a minute and 190 MB")


@dataclass
class FlinkJobServer:
    """A job server that this process started; with ``[local]`` the cluster is inside, and stops with it.

    A job that is cancelled goes on inside a ``[local]`` server: stop the server.

    Beam binds the job service to every address of the machine, whatever ``--job-host`` says, and asks for no password:
    whoever reaches the port can run programs here.  On a network that isn't trusted, a firewall has to close it.

    Args:
        folder: Its log and what jobs bring along.
        master: ``[local]``, or the address of a cluster's REST port as ``host:port``.
        jar: A job server's jar to use instead of ours.
        heap_megabytes: Java's heap; networks and state of an embedded cluster come on top.
        options: More of the job server's own, such as ``--flink-conf-dir=…``.
    """

    folder: Path
    master: str = EMBEDDED
    jar: Path | None = None
    heap_megabytes: int = HEAP_MEGABYTES
    options: Sequence[str] = ()
    process: ServerProcess = field(init=False)
    _ports: dict[str, int] = field(default_factory=dict, init=False)
    _seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Finds Java and the jars.

        Raises:
            ConfigurationError: One isn't there.
        """
        if self.jar is not None and not self.jar.is_file():
            raise ConfigurationError(f"{self.jar}: there is no such jar", "name a job server's jar, or leave it out")
        program = java(f"Flink {FLINK}", 11)
        where = classpath(flink_jars()) if self.jar is None else str(self.jar)
        command = [
            program, f"-Xmx{self.heap_megabytes}m", f"-Djava.io.tmpdir={self.folder}",
            "-Dorg.slf4j.simpleLogger.showDateTime=true", *OPENINGS, "-cp", where,
            "org.apache.beam.runners.flink.FlinkJobServerDriver", "--job-host=127.0.0.1", "--job-port=0",
            "--artifact-port=0", "--expansion-port=0", f"--artifacts-dir={self.folder / 'artifacts'}",
            f"--flink-master={self.master}", *self.options,
        ]  # fmt: skip
        self.process = ServerProcess(f"Flink {FLINK}'s job server", command, self.log)

    @property
    def log(self) -> Path:
        """What the job server and an embedded cluster say."""
        return self.folder / "flink.log"

    @property
    def job_endpoint(self) -> str:
        """What ``--job_endpoint`` takes."""
        return self._endpoint("JobService")

    @property
    def artifact_endpoint(self) -> str:
        """What ``--artifact_endpoint`` takes."""
        return self._endpoint("ArtifactStagingService")

    def start(self) -> None:
        """Starts it, on free ports, and waits until it takes jobs.

        Raises:
            ServerStartError: It does not start.
        """
        self._ports.clear()
        # The log of a server that ran here before tells its ports, not ours.
        self._seen = self.log.stat().st_size if self.log.exists() else 0
        self.process.start(self._is_ready, READY_SECONDS)

    def stop(self) -> None:
        """Stops it, and with ``[local]`` its jobs."""
        self.process.stop()

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.process.kill()

    def _is_ready(self) -> bool:
        with self.log.open("rb") as log:
            log.seek(self._seen)
            self._ports = {name.decode(): int(port) for name, port in _STARTED.findall(log.read())}
        return {"JobService", "ArtifactStagingService"} <= self._ports.keys()

    def _endpoint(self, service: str) -> str:
        if service not in self._ports:
            raise ServerStartError(f"{self.process.what} has no endpoint yet", "start it first")
        return f"127.0.0.1:{self._ports[service]}"


@contextmanager
def running_flink(master: str = EMBEDDED, jar: Path | None = None) -> Iterator[FlinkJobServer]:
    """A job server in a temporary folder, ready for jobs; stopped and removed at the end.

    Args:
        master: As for ``FlinkJobServer``.
        jar: The same.

    Raises:
        TelebeamError: Java or Maven is missing, or it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="telebeam-flink-", ignore_cleanup_errors=True) as folder:
        server = FlinkJobServer(Path(folder), master, jar)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def main() -> int:
    """Starts an embedded Flink and stays, as a script."""
    return serve(flink_jars, running_flink, lambda server: server.job_endpoint)


if __name__ == "__main__":
    sys.exit(main())
