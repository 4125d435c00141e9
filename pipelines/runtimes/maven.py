"""Jars and all that they depend on, fetched by Maven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from telebeam.pipelines.runtimes.installs import installed, java, require, step

MAVEN = {"mvn": "Apache Maven 3.6 or newer"}
_LIBRARY = "lib"


@dataclass(frozen=True)
class Artifact:
    """A jar by its coordinates.

    Args:
        group: Its group.
        name: Its name.
        version: Its version.
        without: A group that it asks for and must not bring along, or nothing.
    """

    group: str
    name: str
    version: str
    without: str = ""


def jars(name: str, artifacts: Sequence[Artifact], words: str) -> Path:
    """The folder of the jars of these artifacts and of their dependencies, fetched if they aren't there.

    Args:
        name: What the installation is called, with its version.
        artifacts: What is asked for.
        words: What to say of it while it is fetched.

    Raises:
        RuntimeUnavailableError: Maven or Java is missing, or a jar can't be had.
    """

    def build(folder: Path) -> None:
        require(words, MAVEN, "copy its jars from a machine that has it, to the same place below ~/.cache/telebeam")
        java(words, 11)
        (folder / "pom.xml").write_text(pom(name, artifacts), encoding="utf-8")
        command = ["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies"]
        step(words, [*command, f"-DoutputDirectory={_LIBRARY}", "-DincludeScope=runtime"], folder)

    return installed(name, build) / _LIBRARY


def classpath(folder: Path) -> str:
    """What java takes for all jars of a folder."""
    return f"{folder}/*"


def pom(name: str, artifacts: Sequence[Artifact]) -> str:
    """The project file that asks for these artifacts and for nothing else."""
    project = ElementTree.Element("project", xmlns="http://maven.apache.org/POM/4.0.0")
    _add(project, modelVersion="4.0.0", groupId="telebeam", artifactId=name, version="1", packaging="pom")
    dependencies = ElementTree.SubElement(project, "dependencies")
    for artifact in artifacts:
        dependency = ElementTree.SubElement(dependencies, "dependency")
        _add(dependency, groupId=artifact.group, artifactId=artifact.name, version=artifact.version)
        if artifact.without:
            exclusions = ElementTree.SubElement(dependency, "exclusions")
            _add(ElementTree.SubElement(exclusions, "exclusion"), groupId=artifact.without, artifactId="*")
    ElementTree.indent(project)
    return ElementTree.tostring(project, encoding="unicode") + "\n"


def _add(element: ElementTree.Element, **texts: str) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(element, tag).text = text
