"""Data flows one way: no room of the library imports one that comes after it.

Imports inside functions count like any other. What stands for types alone does not, as it is never
run.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SPA = Path(__file__).parents[1] / "spa"

# What comes later may import what comes before. Rooms on one line do not know of each other.
ORDER = (
    {"errors", "showing", "starting"},
    {"progress"},
    {"registry"},
    {"graph"},
    {"coupling"},
    {"bridge"},
    {"observe"},
    {"importance"},
    {"selection"},
    {"pruning"},
    {"latency"},
    {"modules", "training"},
    {"sources"},
    {"obspa", "prune", "frameworks"},
    {"tuning", "verbs"},
    {""},  # spa itself
    {"report"},
    {"cli"},
    {"__main__"},
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def room_of(module: str) -> str:
    """``spa.graph.model`` -> ``graph``."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """Modules of spa that a file imports when it runs."""
    tree = ast.parse(path.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in node.body
        for inner in ast.walk(child)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = SPA.parent.joinpath(*node.module.split("."))
            for alias in node.names:
                inner = package / alias.name
                is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
                yield f"{node.module}.{alias.name}" if is_module else node.module


FILES = sorted(p for p in SPA.rglob("*.py") if "workers" not in p.parts)


def test_every_room_has_its_place():
    rooms = {p.relative_to(SPA).parts[0].removesuffix(".py") for p in FILES} - {"__init__"}
    assert rooms == RANK.keys() - {""}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SPA)))
def test_no_import_runs_back(path):
    parts = path.relative_to(SPA).with_suffix("").parts
    own = "" if parts == ("__init__",) else parts[0]
    for module in imports(path):
        if module == "spa" or module.startswith("spa."):
            other = room_of(module)
            allowed = other == own or RANK[other] < RANK[own]
            assert allowed, f"spa/{'/'.join(parts)} imports {module}, which comes after it"


def test_no_module_imports_itself_by_way_of_others():
    names = {p: ".".join(p.relative_to(SPA.parent).with_suffix("").parts) for p in FILES}
    names = {p: name.removesuffix(".__init__") for p, name in names.items()}
    known = set(names.values())
    graph = {
        name: {other for other in imports(p) if other in known and other != name}
        for p, name in names.items()
    }
    # A package's own doors list what is in it.
    for package in [n for p, n in names.items() if p.name == "__init__.py"]:
        graph[package] = {other for other in graph[package] if not other.startswith(package)}
    tuple(graphlib.TopologicalSorter(graph).static_order())
