"""The rooms of the package and of its tests: what imports what, and how long things are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONGEST
from tests.support.places import ROOT

TABLE = (
    ("__main__",),
    ("cli",),
    ("bulk", "service"),
    ("demo", "diagnosis", "line", "tuning"),
    ("evaluation.comparison", "evaluation.report", "evaluation.reproduction"),
    ("evaluation",),
    ("detector",),
    ("alignment", "training"),
    ("data", "runtime"),
    ("spec",),
    ("model",),
    ("ops",),
    ("io", "kernels"),
    ("validated",),
    ("discovery", "errors", "interrupt", "machine", "variants", "version"),
)
"""Rooms from the highest to the lowest: each imports from those below it alone."""

SETTINGS_ARE_LIGHT = "the command line reads what an encoder is without loading PyTorch"
EXCEPTIONS = {
    ("pyramidflow", "pyramidflow.detector"): "the root's names load on use",
    ("pyramidflow", "pyramidflow.model"): "the root's names load on use",
    ("pyramidflow.model.encoder", "pyramidflow.model.layered"): SETTINGS_ARE_LIGHT,
    ("pyramidflow.model.encoder", "pyramidflow.model.frozen"): SETTINGS_ARE_LIGHT,
}
"""Imports inside functions that go up or in a circle, and why."""

SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "pyramidflow").rglob("*.py")
}
"""Files by the names of their modules."""

TESTS = sorted(path for path in (ROOT / "tests").glob("*/**/*.py"))
"""Tests and helpers that lie in rooms."""

MOST_LINES = 400

MOST_LINES_OF_A_FUNCTION = 60

KERNEL = "triton.jit"
"""Decorator of functions that may be longer: a kernel keeps in registers what it has loaded."""

if not SOURCES:
    pytest.skip("the package's sources are not here: they are installed", allow_module_level=True)


def rank(module: str) -> int:
    """Row of the table that a module is in."""
    first, *rest = module.split(".")[1:] or ["version"]
    room = ".".join([first, *rest[:1]])
    # A room may have a room of its own, in another row.
    return min(
        (row for row, rooms in enumerate(TABLE) if room in rooms or first in rooms),
        key=lambda row: room not in TABLE[row],
    )


def room_of(module: str) -> str:
    """The part of the package that a module is in."""
    name = (*module.split(".")[1:2], "version")[0]
    return {"Detector": "detector", "PyramidFlow": "model"}.get(name, name)


def imported(node: ast.AST) -> Iterator[str]:
    """Modules of the package that a statement imports."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return
    for name in names:
        if name.startswith("pyramidflow.kernels"):
            yield "pyramidflow.kernels"
        elif name in ("pyramidflow.Detector", "pyramidflow.PyramidFlow"):
            yield f"pyramidflow.{room_of(name)}"
        elif name == "pyramidflow" or name.startswith("pyramidflow."):
            yield name if name in SOURCES else name.rpartition(".")[0] or name


def imports(module: str) -> Iterator[tuple[str, int]]:
    """What a module imports anywhere, but for its annotations alone, and in which lines."""
    pending: list[ast.AST] = [ast.parse(SOURCES[module].read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        for name in imported(node):
            if (module, name) not in EXCEPTIONS:
                yield name, getattr(node, "lineno", 0)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        else:
            pending += ast.iter_child_nodes(node)


def test_every_part_has_its_place_in_the_table():
    placed = {room.partition(".")[0] for rooms in TABLE for room in rooms}
    assert {module.split(".")[1] for module in SOURCES if "." in module} <= placed


def test_every_room_is_on_the_page_about_the_architecture():
    rooms = {path.parent.name for path in (ROOT / "pyramidflow").glob("*/__init__.py")}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)) == rooms


def test_imports_go_down():
    wrong = [
        f"{SOURCES[module].relative_to(ROOT)}:{line} imports {name}"
        for module in SOURCES
        if module != "pyramidflow"
        for name, line in imports(module)
        if room_of(module) != room_of(name) or rank(module) != rank(name)
        if rank(name) <= rank(module)
    ]
    assert wrong == []


def test_no_modules_import_one_another():
    graph = {module: {name for name, _ in imports(module)} & set(SOURCES) for module in SOURCES}
    while graph:
        leaves = [module for module, names in graph.items() if not names - {module}]
        if not leaves:
            break
        graph = {m: names - set(leaves) for m, names in graph.items() if m not in leaves}
    # What only leads to a circle is no part of it.
    while graph:
        reached = set().union(*graph.values())
        if reached >= set(graph):
            break
        graph = {module: names for module, names in graph.items() if module in reached}
    assert sorted(graph) == []


def test_every_exception_is_needed():
    for module, name in EXCEPTIONS:
        tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
        assert name in {found for node in ast.walk(tree) for found in imported(node)}, (
            module,
            name,
        )


def test_a_circle_and_an_import_upwards_are_seen(monkeypatch, tmp_path):
    (tmp_path / "low.py").write_text("def late():\n    from pyramidflow.cli import app\n")
    monkeypatch.setitem(SOURCES, "pyramidflow.ops.low", tmp_path / "low.py")
    assert [name for name, _ in imports("pyramidflow.ops.low")] == ["pyramidflow.cli.app"]
    assert rank("pyramidflow.cli.app") < rank("pyramidflow.ops.low")


@pytest.mark.parametrize("folder", ["pyramidflow", "tests"])
def test_files_are_short(folder):
    files = SOURCES.values() if folder == "pyramidflow" else TESTS
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in files
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


@pytest.mark.parametrize("folder", ["pyramidflow", "kernels", "tests", "benchmarks"])
def test_functions_are_short(folder):
    long = {
        f"{path.relative_to(ROOT).as_posix()}: {node.name}": lines
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if KERNEL not in map(ast.unparse, node.decorator_list)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


def private_uses(path: Path) -> Iterator[str]:
    """Names with an underscore that a test takes from the package, with their modules."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyramidflow"):
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                if is_private(alias.name):
                    yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in bound and is_private(node.attr):
                yield f"{bound[node.value.id]}.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            target, *names = (*node.args, None)
            for name in names:
                if isinstance(target, ast.Name) and target.id in bound and is_name(name):
                    yield f"{bound[target.id]}.{name.value}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_name(node: ast.AST | None) -> bool:
    """Whether a node is a private name in quotes."""
    return isinstance(node, ast.Constant) and is_private(str(node.value))


def test_no_test_takes_a_private_name_of_another_room():
    others = [
        f"{path.relative_to(ROOT)} takes {name}"
        for path in TESTS
        for name in private_uses(path)
        if (room := path.relative_to(ROOT).parts[1]) != "support"
        if room_of(name) != {"proofs": "ops"}.get(room, room)
    ]
    assert others == []


def test_the_longest_files_of_tests_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).exists()] == []
