"""The rooms of stagkit: imports go down one list only, and no module is part of a circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "stagkit"
#: A room may import itself and the rooms before it in this list.
ROOMS = (
    "core",
    "network",
    "motion",
    "datasets",
    "synthetic",
    "training",
    "evaluation",
    "explain",
    "baselines",
    "inference",
    "plots",
    "explorers",
    "reports",
    "course",
    "cli",
)
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {name_of(path) for path in MODULES}


def imports(tree: ast.AST) -> set[str]:
    """Modules of stagkit that are imported anywhere in a syntax tree."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stagkit":
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & KNOWN
            names |= modules or {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("stagkit.")}
    return names


def test_the_architecture_is_what_ls_shows():
    found = {p.name for p in ROOT.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert found == {*ROOMS, "resources"}
    assert {p.name for p in ROOT.glob("*.py")} == {"__init__.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for(room):
    text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    assert text and 3 <= len(text.splitlines()) <= 8 and "Start reading at" in text


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down(room):
    above = ROOMS[ROOMS.index(room) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        if path.relative_to(ROOT).parts[0] == room
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[1:2] and name.split(".")[1] in above
    ]
    assert not wrong


def test_no_module_is_part_of_a_circle():
    """Imports at the head of files; one inside a function runs later."""
    graph = {}
    for path in MODULES:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        head = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
        graph[name_of(path)] = imports(ast.Module(head, [])) & KNOWN - {name_of(path)}

    def reach(name: str, seen: set[str]) -> set[str]:
        for other in graph[name] - seen:
            seen.add(other)
            reach(other, seen)
        return seen

    assert not [name for name in graph if name in reach(name, set())]


def count_lines(*rooms: str) -> int:
    return sum(
        len(path.read_text(encoding="utf-8").splitlines()) for room in rooms for path in (ROOT / room).rglob("*.py")
    )


def test_the_core_is_thin():
    """Who wants to know how STAG works reads these files; the limits are those of the design."""
    core = ("core", "network", "training")
    assert count_lines(*core) <= 3500
    assert sum(1 for room in core for _ in (ROOT / room).rglob("*.py")) <= 22
    assert count_lines("network") <= 1100


def test_the_package_stays_small():
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.rglob("*.py"))
    assert lines <= 30_000, f"{lines} lines of Python: delete before you add"
