"""Sizes that a model computes with while it runs stay those of the dense model.

A pruned tensor's Shape gives fewer channels, and all that is computed from it would move: a target
made of ``C * T``, a scale of one over the number of entries. So what a Shape or Size says of an
axis that shrank is put back to what it said before; arithmetic then gives the dense model's
numbers, for inputs of any size, and those that shall follow are changed where they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, names_read, set_nodes
from spa.graph.read import free_name, names_in
from spa.pruning.parameters import add_initializer

# By place in a Shape's output (by axis, of a Size): the dense size, and what is left of it.
Lost = Mapping[int, tuple[int, int]]


def keep_dense_sizes(proto: onnx.ModelProto, model: Model, cut: Cut) -> bool:
    """Puts sizes back behind every Shape and Size of a tensor that shrank.

    Args:
        proto: the pruned model, changed in place.
        model: the dense one.
        cut: what went.

    Returns:
        Whether anything was changed.
    """
    dense = [model.graph.producers.get(n.output[0]) for n in proto.graph.node if n.output]
    stale = {
        node.outputs[0]: lost
        for node in dense
        if node is not None and node.op in ("Shape", "Size") and (lost := _lost(node, cut))
    }
    if not stale:
        return False
    given_out = {value.name for value in proto.graph.output}
    names = set(names_in(proto.graph))
    kept = []
    for node in list(proto.graph.node):
        size = None if given_out.intersection(node.output) else _picked(node, model, stale)
        if size is None:
            kept.append(node)
        else:
            add_initializer(proto, node.output[0], size)
    set_nodes(proto.graph, kept)
    read = names_read(proto.graph)
    restored = [
        new
        for node in proto.graph.node
        for new in (
            _restored(proto, node, model, stale, names)
            if node.output and node.output[0] in stale and node.output[0] in read
            else [node]
        )
    ]
    set_nodes(proto.graph, restored)
    return True


def _lost(node: Node, cut: Cut) -> Lost:
    name, model = node.inputs[0], cut.coupling.model
    axes = range(len(model.shapes[name]))
    if node.op == "Shape":
        axes = axes[slice(node.attr("start"), node.attr("end"))]
    masks = cut.of_tensor(name)
    return {
        place: (model.shapes[name][axis], int(mask.sum()))
        for place, axis in enumerate(axes)
        if (mask := masks[axis]) is not None
    }


def _picked(node: onnx.NodeProto, model: Model, stale: Mapping[str, Lost]) -> Array | None:
    """The dense sizes that a Gather picks, where it picks no others."""
    if node.op_type != "Gather" or node.input[0] not in stale:
        return None
    dense = model.graph.producers.get(node.output[0])
    places = None if dense is None else model.static_value(dense.inputs[1])
    if places is None:
        return None
    lost, rank = stale[node.input[0]], model.shapes[node.input[0]][0]
    if not all(int(place) % rank in lost for place in places.reshape(-1)):
        return None
    sizes = [lost[int(place) % rank][0] for place in places.reshape(-1)]
    return np.array(sizes, np.int64).reshape(places.shape)


def _restored(
    proto: onnx.ModelProto,
    node: onnx.NodeProto,
    model: Model,
    stale: Mapping[str, Lost],
    names: set[str],
) -> Iterator[onnx.NodeProto]:
    """The node, and what makes its numbers the dense model's, under the name that they had."""
    name = node.output[0]
    lost = stale[name]
    steps: list[tuple[str, Array]]
    if node.op_type == "Shape":
        stays = np.ones(model.shapes[name], np.int64)
        new = np.zeros_like(stays)
        for place, (size, _) in lost.items():
            stays[place], new[place] = 0, size
        steps = [("Mul", stays), ("Add", new)]
    else:  # as many more entries as each axis lost
        whole, left = (math.prod(sizes) for sizes in zip(*lost.values(), strict=True))
        steps = [("Div", np.array(left)), ("Mul", np.array(whole))]
    source = free_name(f"{name}_pruned", names)
    node.output[0] = source
    yield node
    for i, (op, numbers) in enumerate(steps):
        target = name if i == len(steps) - 1 else free_name(f"{name}_{op.lower()}", names)
        constant = free_name(f"{name}_dense", names)
        add_initializer(proto, constant, numbers)
        yield onnx.helper.make_node(op, [source, constant], [target])
        source = target
