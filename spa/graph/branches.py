"""An If whose condition can have one value only gives way to its branch, so that it can be pruned.

Exporters of scripted models ask for ranks and fixed sizes while the model runs ("has the last axis
size 1?"). A condition is fixed where it is computed from constants alone, or from sizes that the
file fixes (`spa.graph.sizes`). What two runs merely had in common is not enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnx

from spa.graph.inlining import BRANCHES, Inliner, branch_of
from spa.graph.nodes import Node

if TYPE_CHECKING:
    from spa.graph.model import Model


def fixed_conditions(model: Model) -> dict[int, bool]:
    """Index of every If of the main graph with a fixed condition, and the condition."""
    forks = [node for node in model.graph.nodes if node.op == "If"]
    if not forks:
        return {}
    # From IR version 4 on, initializers that are listed as inputs may be given other values.
    old = model.proto.ir_version < 4
    free = set(model.graph.inputs if old else (v.name for v in model.proto.graph.input))
    found = {}
    for node in forks:
        condition = node.inputs[0]
        value = model.static_value(condition)
        if value is None or value.size != 1 or free & _ancestors(node, model):
            continue
        found[node.index] = bool(value.reshape(-1)[0])
    return found


def _ancestors(node: Node, model: Model) -> set[str]:
    """All that a node's inputs are computed from; Shape and Size read no values."""
    seen: set[str] = set()
    pending = list(node.inputs)
    while pending:
        name = pending.pop()
        if name and name not in seen:
            seen.add(name)
            producer = model.graph.producers.get(name)
            if producer is not None and producer.op not in ("Shape", "Size"):
                pending += [*producer.inputs, *producer.captured]
    return seen


def take_branches(proto: onnx.ModelProto, conditions: Mapping[int, bool]) -> onnx.ModelProto:
    """A copy of a model in which some Ifs are replaced by one of their branches."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    branches = {
        index: branch_of(proto.graph.node[index], BRANCHES[0 if then else 1])
        for index, then in conditions.items()
    }
    inliner = Inliner.beside(proto, {i: [branch] for i, branch in branches.items()}, result)
    for index, node in enumerate(proto.graph.node):
        if index in branches:
            inliner.add(branches[index], node.output)
        else:
            result.graph.node.append(node)
    return result
