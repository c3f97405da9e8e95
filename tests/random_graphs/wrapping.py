"""Puts pieces of a model into the branches of Ifs, with the model's own nodes as one branch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CONDITION = "yes"


def wrapped(
    proto: onnx.ModelProto, number: int, start: int, length: int, own: bool, negated: bool
) -> onnx.ModelProto:
    """A copy in which some nodes in a row are an If; both branches run them.

    Args:
        proto: the model, which may have such Ifs already.
        number: tells this If's names from others'.
        start: the first of the nodes; counted around.
        length: how many nodes.
        own: give the other branch weights of its own, which are the first one's by a factor.
        negated: take the other branch where the condition holds.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    graph = result.graph
    nodes = list(graph.node)
    first = start % len(nodes)
    piece = nodes[first : first + length]
    made = {name for node in piece for name in node.output if name}
    read = {value.name for value in graph.output}
    read.update(name for node in nodes if node not in piece for name in _reads([node]))
    outputs = [name for node in piece for name in node.output if name in read]
    if not outputs:
        return result
    if CONDITION not in {value.name for value in graph.input}:
        graph.input.append(helper.make_tensor_value_info(CONDITION, TensorProto.BOOL, []))
    inside = set(_reads(piece))
    shared = {name for node in nodes if node not in piece for name in _reads([node])}
    movable = {
        tensor.name: tensor
        for tensor in graph.initializer
        if own and tensor.name in inside - shared and tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) > 1
    }  # fmt: skip
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    types = {value.name: value.type.tensor_type.elem_type
             for value in (*inferred.value_info, *inferred.output)}  # fmt: skip
    branches = []
    for suffix, factor in (("t", 1.0), ("e", 0.5)):
        names = {name: f"{name}_{suffix}{number}" for name in (*made, *movable)}
        weights = []
        for name, tensor in movable.items():
            value = numpy_helper.to_array(tensor) * np.float32(factor)
            weights.append(numpy_helper.from_array(value, names[name]))
        body = [_renamed(node, names, f"_{suffix}{number}") for node in piece]
        values = [_typed(names[name], types.get(name, 0)) for name in outputs]
        branches.append(helper.make_graph(body, f"{suffix}{number}", [], values, weights))
    if negated:
        branches.reverse()
    fork = helper.make_node(
        "If", [CONDITION], outputs, name=f"if{number}",
        then_branch=branches[0], else_branch=branches[1],
    )  # fmt: skip
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*nodes[:first], fork, *nodes[first + length :]])
    for tensor in movable.values():
        graph.initializer.remove(tensor)
    return result


def _typed(name: str, kind: int) -> onnx.ValueInfoProto:
    """A result of a branch, as exporters declare it: with its type, where that is known."""
    if not kind:
        return onnx.ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, kind, None)


def _reads(nodes: Iterable[onnx.NodeProto]) -> Iterable[str]:
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _reads(attribute.g.node)


def _renamed(node: onnx.NodeProto, names: dict[str, str], suffix: str) -> onnx.NodeProto:
    """A node under other names; what lies in its subgraphs gets the suffix too."""
    result = onnx.NodeProto()
    result.CopyFrom(node)
    for field in (result.input, result.output):
        field[:] = [names.get(name, name) for name in field]
    if node.name:
        result.name += suffix
    for attribute in result.attribute:
        if attribute.HasField("g"):
            graph = attribute.g
            own = [v.name for v in (*graph.input, *graph.initializer)]
            own += [name for inner in graph.node for name in inner.output if name]
            deeper = {**names, **{name: name + suffix for name in own}}
            for value in (*graph.input, *graph.output, *graph.initializer):
                value.name = deeper.get(value.name, value.name)
            nodes = [_renamed(inner, deeper, suffix) for inner in graph.node]
            del graph.node[:], graph.value_info[:]
            graph.node.extend(nodes)
    return result
