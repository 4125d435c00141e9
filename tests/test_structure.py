"""The house rules, held by reading the files: where Beam may be imported, what a kernel may use, how packages look."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipelines", "transforms", "io", "dashboards")
MAX_LINES = 400

BEAM_FILES = {"ptransforms.py", "dofns.py", "coders.py", "metrics.py", "testing.py"}
"""Where Beam is imported within the transforms."""
BEAM_FREE = {
    "io/__init__.py",
    "io/secrets.py",
    "io/lake/__init__.py",
    "io/lake/reader.py",
    "pipelines/config.py",
    "pipelines/config_docs.py",
    "pipelines/problems.py",
    "pipelines/settings.py",
    "pipelines/spec.py",
    "pipelines/validation.py",
    "pipelines/yaml_lines.py",
}
"""Modules of ``io/`` and ``pipelines/`` that an analyst or a check of the configuration imports: no Beam for them."""
BEAM_FREE_NAMES = {"spec.py", "kernel.py"}

KERNEL_LIBRARIES = {"numpy", "pyarrow", "duckdb", "msgspec"}
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}
SHELLS = {("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")}


def files_of_checkout() -> list[Path]:
    """What git tracks or would track; without git, everything that isn't hidden or built."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        return [path for path in ROOT.rglob("*") if path.is_file() and not _is_made(path.relative_to(ROOT))]
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def _is_made(path: Path) -> bool:
    made = {"build", "dist", "demo", "__pycache__"}
    return any(part.startswith(".") or part in made or part.endswith(".egg-info") for part in path.parts)


FILES = files_of_checkout()
PYTHON = sorted(path for path in FILES if path.suffix == ".py")
MODULES = [path for path in PYTHON if path.relative_to(ROOT).parts[0] in PACKAGES]
SHIPPED = [path for path in PYTHON if path.relative_to(ROOT).parts[0] != "tests"]
KERNELS = [path for path in MODULES if path.name == "kernel.py"]
STAGES = sorted({path.parent for path in MODULES if path.parent.parent == ROOT / "transforms"})


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[name_of(path) for path in paths])


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(module: str) -> str:
    return module.partition(".")[0]


def called_name(node: ast.Call) -> tuple[str, str]:
    """``(owner, name)`` of a call: ``datetime.datetime.now()`` is ``("datetime", "now")``."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return (getattr(owner, "attr", getattr(owner, "id", "")), node.func.attr)
    return ("", getattr(node.func, "id", ""))


def may_import_beam(path: Path) -> bool:
    name = name_of(path)
    if name in BEAM_FREE or path.name in BEAM_FREE_NAMES:
        return False
    return path.name in BEAM_FILES or top(name.replace("/", ".")) in ("io", "pipelines")


def is_public(name: str) -> bool:
    return not name.startswith("_")


# Layers


@each(MODULES)
def test_beam_is_imported_at_the_borders_only(path: Path):
    assert may_import_beam(path) or "apache_beam" not in {top(module) for module in imports(path)}


@each(KERNELS)
def test_a_kernel_imports_columns_and_other_kernels_only(path: Path):
    for module in imports(path):
        if top(module) == "telebeam":
            assert not module.startswith(("telebeam.pipelines", "telebeam.dashboards")), module
            assert not {f"{part}.py" for part in module.split(".")} & BEAM_FILES, module
        else:
            assert top(module) in KERNEL_LIBRARIES | sys.stdlib_module_names, module


@each(KERNELS)
def test_a_kernel_reads_no_clock_and_draws_no_random_numbers(path: Path):
    imported = set(imports(path))
    assert not {"random", "secrets", "uuid", "time", "numpy.random"} & imported
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert called_name(node) not in CLOCKS, f"{name_of(path)}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr != "random", f"{name_of(path)}:{node.lineno}"


def test_what_an_analyst_or_a_check_imports_leaves_beam_out(tmp_path: Path):
    modules = ["telebeam.io.lake", "telebeam.transforms.schema", "telebeam.transforms"]
    modules += [
        f"telebeam.{name_of(path).removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
        for path in MODULES
        if not may_import_beam(path) and (name_of(path) in BEAM_FREE or path.name in BEAM_FREE_NAMES)
    ]
    lines = [f"import {module}; assert 'apache_beam' not in sys.modules, {module!r}" for module in modules]
    program = "import sys\n" + "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Safety


@each(SHIPPED)
def test_nothing_is_pickled(path: Path):
    assert not {top(module) for module in imports(path)} & PICKLES


@each(PYTHON)
def test_no_shell_is_started(path: Path):
    assert not {".".join(shell) for shell in SHELLS} & set(imports(path))
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert called_name(node) not in SHELLS, f"{name_of(path)}:{node.lineno}"
            for keyword in node.keywords:
                given = isinstance(keyword.value, ast.Constant) and not keyword.value.value
                assert keyword.arg != "shell" or given, f"{name_of(path)}:{node.lineno}"


@each(SHIPPED)
def test_asserts_are_for_tests(path: Path):
    found = [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]
    assert not found, f"{name_of(path)}: lines {found}"


@each(SHIPPED)
def test_no_error_is_swallowed_unseen(path: Path):
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(kind is None or getattr(kind, "id", "") in ("Exception", "BaseException") for kind in kinds)
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        assert node.type is not None, f"{name_of(path)}:{node.lineno}: a bare except"
        assert raises or not broad, f"{name_of(path)}:{node.lineno}: except Exception that does not raise"


HOST_PATH = re.compile(r"(?<![\w.\-/])/(?:" + "|".join(["home", "root", "work", "Users"]) + r")/")


def test_no_file_names_a_folder_of_somebodys_machine():
    found = []
    for path in FILES:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}:{number}" for number, line in enumerate(lines, 1) if HOST_PATH.search(line)]
    assert not found


# Shape


@each(PYTHON)
def test_a_module_fits_in_a_head(path: Path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines"


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in MODULES}
    assert not [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_top_package_says_that_it_is_typed(folder: str):
    assert (ROOT / folder / "py.typed").exists()


@each(STAGES)
def test_a_stage_has_its_three_files(path: Path):
    assert {"kernel.py", "spec.py", "ptransforms.py"} <= {file.name for file in path.iterdir()}


@each([path for path in MODULES if path.name == "__init__.py"])
def test_a_packages_list_holds_no_logic(path: Path):
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    assert all(isinstance(node, allowed) for node in tree_of(path).body)


@each([path for path in MODULES if "PTransform" in path.read_text(encoding="utf-8")])
def test_a_ptransform_is_a_documented_dataclass(path: Path):
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = {getattr(base, "attr", getattr(base, "id", "")) for base in node.bases}
        if "PTransform" in bases:
            decorators = {getattr(d.func if isinstance(d, ast.Call) else d, "id", "") for d in node.decorator_list}
            decorators |= {getattr(d.func if isinstance(d, ast.Call) else d, "attr", "") for d in node.decorator_list}
            assert "dataclass" in decorators, f"{name_of(path)}:{node.lineno}: {node.name} is no dataclass"
            assert ast.get_docstring(node), f"{name_of(path)}:{node.lineno}: {node.name} has no docstring"


@each([path for path in MODULES if path.read_text(encoding="utf-8").strip()])
def test_what_is_public_is_documented(path: Path):
    tree = tree_of(path)
    assert ast.get_docstring(tree), "the module"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)) and is_public(node.name):
            assert ast.get_docstring(node), f"{name_of(path)}:{node.lineno}: {node.name}"


# Documents

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


@each(sorted(path for path in FILES if path.suffix == ".md"))
def test_links_between_documents_lead_somewhere(path: Path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for found in LINK.finditer(text):
        target = (found.group(1) or found.group(2)).partition("#")[0]
        if target and not re.match(r"[a-z][a-z0-9+.-]*:", target):
            assert (path.parent / target).exists(), target


# The rules themselves


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (test_beam_is_imported_at_the_borders_only, "transforms/x/kernel.py", "import apache_beam as beam"),
        (test_beam_is_imported_at_the_borders_only, "transforms/x.py", "def f():\n from apache_beam import io"),
        (test_beam_is_imported_at_the_borders_only, "io/lake/reader.py", "import apache_beam.io"),
        (test_a_kernel_imports_columns_and_other_kernels_only, "kernel.py", "import pandas"),
        (test_a_kernel_imports_columns_and_other_kernels_only, "kernel.py", "from telebeam.transforms import metrics"),
        (test_a_kernel_reads_no_clock_and_draws_no_random_numbers, "kernel.py", "from time import time"),
        (test_a_kernel_reads_no_clock_and_draws_no_random_numbers, "kernel.py", "datetime.datetime.now()"),
        (test_a_kernel_reads_no_clock_and_draws_no_random_numbers, "kernel.py", "np.random.default_rng()"),
        (test_nothing_is_pickled, "io/a.py", "from joblib import dump"),
        (test_no_shell_is_started, "io/a.py", "run('x', shell=True)"),
        (test_no_shell_is_started, "io/a.py", "from os import system"),
        (test_asserts_are_for_tests, "io/a.py", "assert True"),
        (test_no_error_is_swallowed_unseen, "io/a.py", "try: pass\nexcept: raise"),
        (test_no_error_is_swallowed_unseen, "io/a.py", "try: pass\nexcept (OSError, Exception): pass"),
        (test_a_module_fits_in_a_head, "io/a.py", "x = 1\n" * 401),
        (test_a_packages_list_holds_no_logic, "io/__init__.py", "if True: pass"),
        (test_a_ptransform_is_a_documented_dataclass, "io/a.py", "class A(beam.PTransform):\n 'words'"),
        (test_a_ptransform_is_a_documented_dataclass, "io/a.py", "@dataclass\nclass A(PTransform): pass"),
        (test_what_is_public_is_documented, "io/a.py", "'words'\ndef f(): pass"),
        (test_links_between_documents_lead_somewhere, "a.md", "[x](b.md#c)"),
    ],
)  # fmt: skip
def test_a_rule_finds_what_it_forbids(rule, name, text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError):
        rule(path)
