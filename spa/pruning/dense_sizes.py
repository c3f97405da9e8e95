"""Sizes that a model computes with while it runs stay those of the dense model.

A pruned tensor's Shape gives fewer channels, and all that is computed from it would move: a target
made of ``C * T``, a scale of one over the number of entries. So what a Shape or Size says of an
axis that shrank is put back to what it said before; arithmetic then gives the dense model's
numbers, for inputs of any size, and those that shall follow are changed where they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, names_read, set_nodes
from spa.graph.read import names_in
from spa.pruning.parameters import add_initializer


def keep_dense_sizes(proto: onnx.ModelProto, model: Model, cut: Cut) -> bool:
    """Puts sizes back behind every Shape and Size of a tensor that shrank.

    Args:
        proto: the pruned model, changed in place.
        model: the dense one.
        cut: what went.

    Returns:
        Whether anything was changed.
    """
    there = {node.output[0]: node for node in proto.graph.node if node.op_type in ("Shape", "Size")}
    dense = [model.graph.producers[name] for name in there if name in model.graph.producers]
    stale = [node for node in dense if _lost(node, cut)]
    if not stale:
        return False
    names = set(names_in(proto.graph))
    outside = names_read(proto.graph) - {n for node in proto.graph.node for n in node.input}
    nodes = list(proto.graph.node)
    for node in stale:
        if node.op == "Shape":
            nodes = list(_pick_constants(proto, nodes, node, cut, model, outside))
        nodes = list(_restored(proto, nodes, node, cut, model, names))
    set_nodes(proto.graph, nodes)
    return True


def _axes(node: Node, model: Model) -> Sequence[int]:
    """The axis that every number of a Shape or Size's output is of, or that go into it."""
    axes = range(len(model.shapes[node.inputs[0]]))
    return axes[slice(node.attr("start"), node.attr("end"))] if node.op == "Shape" else axes


def _lost(node: Node, cut: Cut) -> dict[int, tuple[int, int]]:
    """By place in the output (by axis, of a Size): the dense size, and what is left of it."""
    name, model = node.inputs[0], cut.coupling.model
    masks = cut.of_tensor(name)
    return {
        place: (model.shapes[name][axis], int(mask.sum()))
        for place, axis in enumerate(_axes(node, model))
        if (mask := masks[axis]) is not None
    }


def _pick_constants(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    shape: Node,
    cut: Cut,
    model: Model,
    outside: set[str],
) -> Iterator[onnx.NodeProto]:
    """A Gather of one such size becomes that number."""
    lost = _lost(shape, cut)
    rank = len(_axes(shape, model))
    for node in nodes:
        dense = model.graph.producers.get(node.output[0]) if node.output else None
        if (
            dense is not None
            and dense.op == node.op_type == "Gather"
            and node.input[0] == shape.outputs[0]
            and node.output[0] not in outside
        ):
            places: Array | None = model.static_value(dense.inputs[1])
            if places is not None and all(int(p) % rank in lost for p in places.reshape(-1)):
                sizes = np.array([lost[int(p) % rank][0] for p in places.reshape(-1)], np.int64)
                add_initializer(proto, node.output[0], sizes.reshape(places.shape))
                continue
        yield node


def _restored(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    node: Node,
    cut: Cut,
    model: Model,
    names: set[str],
) -> Iterator[onnx.NodeProto]:
    """The node, and what makes its numbers the dense model's, under the name that they had."""
    name = node.outputs[0]
    lost = _lost(node, cut)
    read = any(name in other.input for other in nodes) or name in names_read(proto.graph)
    for other in nodes:
        if not read or name not in other.output:
            yield other
            continue
        stem = _free(name, names)
        steps: list[tuple[str, Array]]
        if node.op == "Shape":
            stays = np.ones(len(_axes(node, model)), np.int64)
            stays[list(lost)] = 0
            new = np.zeros_like(stays)
            new[list(lost)] = [size for size, _ in lost.values()]
            steps = [("Mul", stays), ("Add", new)]
        else:  # as many fewer entries as each axis lost
            left = np.array(np.prod([b for _, b in lost.values()], dtype=np.int64))
            whole = np.array(np.prod([a for a, _ in lost.values()], dtype=np.int64))
            steps = [("Div", left), ("Mul", whole)]
        made = [f"{stem}_{i}" for i in range(len(steps))] + [name]
        first = onnx.NodeProto.FromString(other.SerializeToString())
        first.output[0] = made[0]
        yield first
        for i, (op, numbers) in enumerate(steps):
            constant = f"{stem}_{op.lower()}"
            add_initializer(proto, constant, numbers)
            yield onnx.helper.make_node(op, [made[i], constant], [made[i + 1]])


def _free(name: str, names: set[str]) -> str:
    stem, number = f"{name}_dense", 0
    while any(known.startswith(stem) for known in names):
        number += 1
        stem = f"{name}_dense_{number}"
    names.add(stem)
    return stem
