"""Imports point down only, rooms of one floor never import one another, and heavy libraries load inside functions.

The test reads the source and runs none of it: every import counts, relative ones, those inside functions and those for types.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = (
    ("core",),
    ("sources", "images", "models", "search"),
    ("download", "embed", "neighbors", "verify", "risk", "extract", "attacks", "leak", "gate", "export", "report", "plan", "lab"),
    ("pipelines",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DATA = {"queries", "configs"}
"""Packages of files that are no modules; they import nothing."""
HEAVY = {"torch", "torchvision", "open_clip", "faiss", "diffusers", "transformers", "ray", "matplotlib"}


@dataclass(frozen=True)
class Import:
    """``name``: dotted, absolute. ``is_eager``: executed when the module is imported."""

    name: str
    line: int
    is_eager: bool


def imports_of(source: str, module: str, *, is_package: bool = False) -> list[Import]:
    """Every import of a module's source; of ``from a import b`` both ``a`` and ``a.b``, as b may be a module."""
    found: list[Import] = []
    package = module.split(".") if is_package else module.split(".")[:-1]

    def visit(node: ast.AST, is_eager: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, is_eager) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found.append(Import(base, node.lineno, is_eager))
            found.extend(Import(f"{base}.{alias.name}", node.lineno, is_eager) for alias in node.names)
        elif isinstance(node, ast.Call) and (name := dynamic_import(node)):
            found.append(Import(name, node.lineno, is_eager))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            # Decorators and defaults run at once; the body runs when it is called.
            body = node.body if isinstance(node.body, list) else [node.body]
            for child in ast.iter_child_nodes(node):
                visit(child, is_eager and not any(child is statement for statement in body))
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                visit(child, False)
            for child in node.orelse:
                visit(child, is_eager)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, is_eager)

    visit(ast.parse(source), True)
    return found


def dynamic_import(node: ast.Call) -> str | None:
    """The module of ``importlib.import_module("x")`` or ``__import__("x")`` with a literal name."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return None


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def room_of(module: str) -> str | None:
    """``scanner.search.forest`` is in ``search``; the package itself and foreign modules are in none."""
    steps = module.split(".")
    return steps[1] if steps[0] == "scanner" and len(steps) > 1 else None


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What a module's imports break, one line each; empty where all is well."""
    room = room_of(module)
    problems = []
    for imported in imports_of(source, module, is_package=is_package):
        where = f"{module}:{imported.line}"
        if imported.is_eager and imported.name.split(".")[0] in HEAVY:
            problems.append(f"{where}: {imported.name} is heavy: import it inside the function that needs it")
        if imported.name.split(".")[0] in {"pipelines", *DATA}:
            problems.append(f"{where}: {imported.name} is reached as scanner.{imported.name}")
        target = room_of(imported.name)
        if target == room or target not in FLOOR:
            continue
        if room is None:
            # What a user opens is one function, which imports when it is called; it reaches no further than the ground floor.
            if imported.is_eager or target != "core":
                problems.append(f"{where}: the package itself imports {imported.name}")
        elif FLOOR[target] > FLOOR[room]:
            problems.append(f"{where}: {room} imports {imported.name} from a floor above")
        elif FLOOR[target] == FLOOR[room]:
            problems.append(f"{where}: {room} and {target} are rooms of one floor: move what both need down")
    return sorted(set(problems))


def modules() -> list[tuple[str, Path]]:
    """Dotted name and file of every module, pipelines/ among them (a link inside scanner/)."""
    found = []
    for folder, package in ((ROOT / "scanner", "scanner"), (ROOT / "pipelines", "scanner.pipelines")):
        for path in sorted(folder.rglob("*.py")):  # rglob enters no links, so nothing comes twice
            steps = path.relative_to(folder).with_suffix("").parts
            found.append((".".join([package, *(step for step in steps if step != "__init__")]), path))
    return found


MODULES = dict(modules())


def test_every_room_has_a_floor():
    entries = {entry.name for entry in (ROOT / "scanner").iterdir() if entry.is_dir() and entry.name != "__pycache__"}
    assert entries <= set(FLOOR) | DATA, "a new room is put on a floor here, and into DESIGN"
    assert {"scanner.core.schemas", "scanner.pipelines.scan", "scanner.cli.main", "scanner.lab.planted"} <= set(MODULES)
    assert all(not list((ROOT / name).rglob("*.py"))[1:] for name in DATA), "queries and configs hold no code"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    path = MODULES[module]
    problems = violations(path.read_text("utf-8"), module, is_package=path.name == "__init__.py")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("module", "code", "complaint"),
    [
        ("scanner.core.store", "import scanner.sources.base", "floor above"),
        ("scanner.core.store", "from scanner.sources.base import Shard", "floor above"),
        ("scanner.core.store", "from scanner import sources", "floor above"),
        ("scanner.core.store", "from ..sources import base", "floor above"),
        ("scanner.core.store", "from .. import embed", "floor above"),
        ("scanner.search.forest", "def f():\n    from scanner.lab import planted", "floor above"),
        ("scanner.search.forest", "class A:\n    async def f(self):\n        import scanner.cli.main", "floor above"),
        ("scanner.images.decode", "if TYPE_CHECKING:\n    from scanner.embed.stage import X", "floor above"),
        ("scanner.images.decode", "import importlib\nimportlib.import_module('scanner.pipelines.scan')", "floor above"),
        ("scanner.images.decode", "from scanner.models.encoders import Encoder", "one floor"),
        ("scanner.embed.stage", "from ..neighbors import stage", "one floor"),
        ("scanner.embed.stage", "try:\n    from scanner.risk.stage import run\nexcept ImportError:\n    pass", "one floor"),
        ("scanner.pipelines.scan", "from scanner.cli.scan import scan", "floor above"),
        ("scanner", "from scanner.core.store import Store", "package itself"),
        ("scanner", "def open(url):\n    from scanner.pipelines.scan import scan", "package itself"),
        ("scanner.risk.stage", "import pipelines.scan", "reached as"),
        ("scanner.models.open_clip", "import torch", "heavy"),
        ("scanner.models.open_clip", "import torch.nn.functional as F", "heavy"),
        ("scanner.models.open_clip", "from torchvision.io import decode_jpeg", "heavy"),
        ("scanner.search.kmeans", "try:\n    import faiss\nexcept ImportError:\n    faiss = None", "heavy"),
        ("scanner.report.figures", "class A:\n    from matplotlib import pyplot", "heavy"),
        ("scanner.report.figures", "if True:\n    import diffusers", "heavy"),
        ("scanner.report.figures", "def f(x=__import__('ray')):\n    pass", "heavy"),
        ("scanner.report.figures", "import typing\nif not typing.TYPE_CHECKING:\n    import transformers", "heavy"),
    ],
)  # fmt: skip
def test_each_kind_of_violation_is_caught(module, code, complaint):
    problems = violations(code, module)
    assert len(problems) >= 1
    assert all(complaint in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("scanner.cli.main", "from scanner.pipelines.scan import scan\nfrom scanner.core.errors import ScannerError"),
        ("scanner.pipelines.scan", "from scanner.embed.stage import EmbedStage\nfrom scanner.lab import planted"),
        ("scanner.embed.stage", "from scanner.images.prepare import ImagePreparer\nfrom . import rows"),
        ("scanner.models.open_clip", "if TYPE_CHECKING:\n    import torch\ndef f():\n    import open_clip"),
        ("scanner.models.open_clip", "import torchmetrics\nfrom scanner import __version__\nimport numpy"),
        ("scanner.search.kmeans", "f = lambda: __import__('faiss')"),
        ("scanner.core.sql", "from importlib import resources\nresources.files('scanner.queries')"),
        ("scanner", "def open(url):\n    from scanner.core.run import Run\n    return Run(url)"),
    ],
)  # fmt: skip
def test_what_is_allowed_passes(module, code):
    assert violations(code, module) == []


def test_relative_imports_are_resolved_against_the_package():
    names = {
        imported.name for imported in imports_of("from .b import c\nfrom .. import d\nfrom ..e.f import g", "scanner.core.a")
    }
    assert names == {"scanner.core.b", "scanner.core.b.c", "scanner", "scanner.d", "scanner.e.f", "scanner.e.f.g"}
    assert "scanner.core.b.c" in {i.name for i in imports_of("from .b import c", "scanner.core", is_package=True)}
