"""Where a failed proof first goes wrong: the operator, and the group whose channels it handles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Group, Groups
from spa.errors import ModelError
from spa.graph.execute import run
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, Use, set_nodes
from spa.graph.shape_arithmetic import ShapeArithmetic
from spa.graph.weightless import without_weights
from spa.pruning.proof.closeness import is_close


def first_difference(
    model: Model, want: Mapping[str, Array], have: Mapping[str, Array], tolerance: float
) -> Node | None:
    """The first node whose output is not what the zeroed dense model has in its kept slices.

    Sizes of what shrinks differ rightly, and so does what is computed from them.
    """
    sizes = ShapeArithmetic(model).origins
    for node in model.graph.nodes:
        if any(name in sizes for name in node.outputs):
            continue
        for name in node.outputs:
            if name not in want or not isinstance(want[name], np.ndarray):
                continue
            if want[name].shape != have[name].shape:
                return node
            if not is_close(want[name], have[name], tolerance):
                return node
    return None


def first_failing(model: Model, pruned: onnx.ModelProto, feed: Mapping[str, Array]) -> Node | None:
    """The first node of a pruned model at which it no longer runs, found by halving; or None."""
    if _runs(pruned, feed, len(pruned.graph.node)):
        return None
    low, high = 0, len(pruned.graph.node)  # the first `low` nodes run, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        if _runs(pruned, feed, middle):
            low = middle
        else:
            high = middle
    made = {name for name in pruned.graph.node[low].output if name}
    return next((n for n in model.graph.nodes if made.intersection(n.outputs)), None)


def describe(node: Node | None, cut: Cut, groups: Groups) -> str:
    """A sentence that names the operator, and the groups whose channels it handles."""
    if node is None:
        return ""
    coupling = cut.coupling
    layers = [
        layer
        for i in range(len(node.inputs))
        if node.has_input(i)
        for layer in coupling.layers_read(Use(node.index, i))
    ]
    layers += [layer for name in node.outputs for layer in coupling.layers.get(name, [])]
    labels = np.concatenate([np.zeros(0, np.int64), *(layer.reshape(-1) for layer in layers)])
    touched = coupling.components.of[labels[cut.removed[labels]]]
    handled = [_named(g) for g in groups.groups if np.isin(g.components, touched).any()]
    if not handled:
        return f" It goes wrong first at {node}."
    return f" It goes wrong first at {node}, which handles channels of {' and '.join(handled)}."


def _named(group: Group) -> str:
    members = ", ".join(f'"{member.name}"' for member in group.members[:3])
    more = " and others" if len(group.members) > 3 else ""
    return f"group {group.id} ({members}{more})"


def _runs(proto: onnx.ModelProto, feed: Mapping[str, Array], nodes: int) -> bool:
    """Whether the first nodes of a model run."""
    light, weights = without_weights(proto)
    set_nodes(light.graph, light.graph.node[:nodes])
    del light.graph.output[:], light.graph.value_info[:]
    last = [name for name in light.graph.node[-1].output if name]
    light.graph.output.extend(onnx.ValueInfoProto(name=name) for name in last)
    try:
        run(light, feed, weights=weights, optimize=False)
    except ModelError:
        return False
    return True
