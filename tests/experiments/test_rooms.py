"""No import of the harness runs back up: rooms stand in an order, and there are no circles.

All imports count, those within functions and those for types alone too. The order is that of
what is needed to state a thing:

    ground      names, files, seeds; knows nothing of pruning
    data        what networks see
    tasks       what of it is asked, and how well it is answered: so it takes a split of data
    models      networks to be fed with it
    training    what turns a fresh network into a dense one
    methods     what makes it smaller; a method may train
    times       when that is done
    config      a run's settings: composed of what the rooms before declare, so it stands above them
    results     what runs leave, and what may be compared
    figures, tables, loggers    what is shown of results; tables draw figures beside them, and a
                                logger shows both, while a run is under way
    runs        one run from its settings to its result, told to a logger
    sweeps      many runs
    report, bench    pages, and measurements of all of the above
    doors       what `python -m experiments.NAME` names
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = (
    *("ground", "data", "tasks", "models", "training", "methods", "times", "config", "results"),
    *("figures", "tables", "loggers", "runs", "sweeps", "report", "bench"),
)
DOORS = {path.stem for path in (ROOT / "experiments").glob("*.py")} - {"__init__"}
# Run by their path in environments of their own, and found there by each other's names.
ELSEWHERE = ("models/keras", "models/flax", "models/gluon")
FILES = {
    path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "experiments").rglob("*.py"))
    if not any(part in path.as_posix() for part in ELSEWHERE)
}


def imports(path: Path) -> set[str]:
    """Modules of the harness that a file imports, wherever in it."""
    modules, found = set(FILES.values()), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules else node.module)
    return {name for name in found if name in modules and name != "experiments"}


def room(module: str) -> str:
    return module.split(".")[1]


def height(module: str) -> int:
    return len(ORDER) if room(module) in DOORS else ORDER.index(room(module))


def test_every_room_has_its_place():
    rooms = {room(module) for module in FILES.values() if module != "experiments"}
    assert rooms - DOORS <= set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: FILES[path])
def test_no_import_runs_back_up(path):
    module = FILES[path]
    if module == "experiments":
        assert not imports(path)
        return
    above = {name for name in imports(path) if height(name) > height(module)}
    assert not above, f"{module} imports {', '.join(sorted(above))}, which stand above it"
    if room(module) in DOORS:
        doors = {name for name in imports(path) if room(name) in DOORS} - {module}
        assert not doors, f"the door {module} goes through {', '.join(doors)}"


def test_there_are_no_circles():
    """A package's own `__init__` may gather what its files hold, which import one another."""
    needs = {module: imports(path) - {module} for path, module in FILES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for each in sorted(needs[module]):
                visit(each, (*way, module))
            done.add(module)

    for module in needs:
        visit(module, ())


def test_doors_are_thin():
    for name in sorted(DOORS):
        lines = (ROOT / "experiments" / f"{name}.py").read_text().splitlines()
        assert len(lines) <= 64, f"{name}.py has {len(lines)} lines; what it does goes to a room"
