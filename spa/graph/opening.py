"""Which Ifs of a model can be opened: those whose branches both run on the example.

An If is opened (`spa.graph.forks`) if the opened model still runs on the example, at the same other
sizes as before, and both branches gave results of one shape, which a condition of more axes would
change. All are tried at once, and parts of them where that fails. The others stay Ifs: a branch may
be for other sizes, or for other values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from spa.errors import ModelError
from spa.graph.execute import run
from spa.graph.forks import Fork, open_forks
from spa.graph.model import Model
from spa.graph.nodes import Node
from spa.graph.observe import Run

# Checks and runs a model in which some Ifs are opened, on the example of the model before.
Load = Callable[[onnx.ModelProto, tuple[Fork, ...]], Model]


def open_where_possible(
    model: Model, refused: frozenset[str], load: Load
) -> tuple[Model, frozenset[str]]:
    """Opens the Ifs of the main graph that can be.

    Args:
        model: the model.
        refused: results of Ifs that were tried before.
        load: runs an opened model.

    Returns:
        The model with these Ifs opened (itself, where none can be), and the results of all Ifs that
        cannot be.
    """
    nodes = [n for n in model.graph.nodes if n.op == "If" and refused.isdisjoint(n.outputs)]
    best, done = model, list[int]()
    pending = [[node.index for node in nodes]] if nodes else []
    while pending:
        some = pending.pop()
        found = _opened(model, [*done, *some], load)
        strange = [] if found is None else _unequal(found, model)
        if found is not None and not strange:
            best, done = found, [*done, *some]
        elif rest := [index for index in some if index not in strange and len(some) > 1]:
            half = len(rest) if strange else len(rest) // 2
            pending += [part for part in (rest[half:], rest[:half]) if part]
    left = {name for node in nodes if node.index not in done for name in node.outputs}
    return best, refused | left


def _opened(model: Model, indices: Sequence[int], load: Load) -> Model | None:
    """The model with some Ifs opened; None where it does not run as the model itself did."""
    proto, forks = open_forks(model.proto, indices)
    try:
        found = load(proto, (*model.forks, *forks))
        run(found.proto, found.example, optimize=False)  # as it is; shapes that it states included
    except ModelError:
        return None
    return found if _sizes(found, found.varied) == _sizes(model, model.varied) else None


def _sizes(model: Model, other: Run | None) -> list[tuple[int, ...]]:
    """The inputs' shapes in a run."""
    return [] if other is None else [other.shapes[name] for name in model.example]


def _unequal(opened: Model, model: Model) -> list[int]:
    """The Ifs, by index, whose branches and results have not all one shape."""
    makers = {name: node.index for node in model.graph.nodes for name in node.outputs}
    found = []
    for fork in opened.forks[len(model.forks) :]:
        nodes = [opened.graph.producers[name] for name in fork.outputs]
        for each in (opened.observed, opened.varied):
            if each is not None and not all(_is_plain(node, each, opened) for node in nodes):
                found.append(makers[fork.outputs[0]])
    return found


def _is_plain(where: Node, seen: Run, model: Model) -> bool:
    """Whether both operands of a Where have its result's shape."""
    shapes = [
        seen.shapes.get(name, model.shapes.get(name))
        for name in (*where.inputs[1:], where.outputs[0])
    ]
    return shapes[0] is not None and shapes[0] == shapes[1] == shapes[2]
