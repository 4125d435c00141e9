from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

GROUPS = (
    "What every installation gets", "kafka", "pubsub", "dataflow", "ml", "formats", "devices", "analyst", "dev",
)  # fmt: skip


def required(root: Path) -> dict[str, list[str]]:
    """Group → names, read off the call of ``setup`` without running it."""
    tree = ast.parse((root / "setup.py").read_text(encoding="utf-8"))
    (call,) = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "setup")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    groups = {GROUPS[0]: ast.literal_eval(keywords["install_requires"])}
    groups |= ast.literal_eval(keywords["extras_require"])
    return {group: [re.split(r"[\[<>=!~; ]", line)[0] for line in lines] for group, lines in groups.items()}


def test_every_extra_has_its_section(root: Path):
    document = (root / "docs/dependencies.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", document, flags=re.MULTILINE) == list(required(root))


@pytest.mark.parametrize("group", GROUPS)
def test_every_dependency_has_one_reason(root: Path, group: str):
    document = (root / "docs/dependencies.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf"^## {group}\n(.*?)(?=^## |\Z)", document, flags=re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (?!package |-)(\S+) \| (\S.*) \|$", text, flags=re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(required(root)[group])


def imported(root: Path) -> set[str]:
    """The top-level modules of others that ours import."""
    names = set()
    for folder in ("pipelines", "transforms", "io", "dashboards"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add((node.module or "").partition(".")[0])
    return names - sys.stdlib_module_names - {"telebeam", "__future__"}


def test_everything_that_is_imported_is_declared(root: Path):
    groups = required(root)
    declared = {name.lower() for group in GROUPS[:-1] for name in groups[group]}
    providers = packages_distributions()
    missing = {
        module: providers.get(module, [])
        for module in imported(root)
        if not {name.lower().replace("_", "-") for name in providers.get(module, [])} & declared
    }
    assert not missing
