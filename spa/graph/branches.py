"""An If whose condition can have one value only gives way to its branch, so that it can be pruned.

Exporters of scripted models ask for ranks and fixed sizes while the model runs ("has the last axis
size 1?"). A condition is fixed where it is computed from constants alone, or from shapes whose
sizes the file fixes, as shape inference says. What two runs merely had in common is not enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import onnx

from spa.graph.nodes import Node, subgraphs
from spa.graph.read import names_in
from spa.graph.weightless import without_weights

if TYPE_CHECKING:
    from spa.graph.model import Model


def fixed_conditions(model: Model) -> dict[int, bool]:
    """Index of every If of the main graph with a fixed condition, and the condition."""
    forks = [node for node in model.graph.nodes if node.op == "If"]
    if not forks:
        return {}
    from spa.coupling.arithmetic import ShapeArithmetic

    arithmetic = ShapeArithmetic(model)
    sizes = _fixed_sizes(model.proto)
    # From IR version 4 on, initializers that are listed as inputs may be given other values.
    old = model.proto.ir_version < 4
    free = set(model.graph.inputs if old else (v.name for v in model.proto.graph.input))
    found = {}
    for node in forks:
        condition = node.inputs[0]
        value = model.static_value(condition)
        if value is None or value.size != 1 or free & _ancestors(node, model):
            continue
        origins = arithmetic.of(condition)
        known = condition in model.constants or condition in arithmetic.origins
        if known and origins <= sizes:
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


def _fixed_sizes(proto: onnx.ModelProto) -> set[tuple[str, int]]:
    """Axes whose size follows from the file alone."""
    light, large = without_weights(proto)
    del light.graph.value_info[:]
    declared = {value.name for value in light.graph.input}
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in large
        if tensor.name not in declared
    )
    try:
        light = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return set()
    return {
        (value.name, axis)
        for value in (*light.graph.input, *light.graph.value_info)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if dim.HasField("dim_value")
    }


def take_branches(proto: onnx.ModelProto, conditions: Mapping[int, bool]) -> onnx.ModelProto:
    """A copy of a model in which some Ifs are replaced by one of their branches."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    branches = {
        index: _branch(proto.graph.node[index], "then_branch" if then else "else_branch")
        for index, then in conditions.items()
    }
    taken = _names_beside(proto, branches)
    for index, node in enumerate(proto.graph.node):
        if index in branches:
            _inline(result, branches[index], list(node.output), taken)
        else:
            result.graph.node.append(node)
    return result


def _branch(node: onnx.NodeProto, which: str) -> onnx.GraphProto:
    graph: onnx.GraphProto = next(a.g for a in node.attribute if a.name == which)
    return graph


def _names_beside(proto: onnx.ModelProto, branches: Mapping[int, onnx.GraphProto]) -> set[str]:
    """Names that stay in use when Ifs go: all outside of them, and those further in."""
    light, large = without_weights(proto)
    for index in branches:
        del light.graph.node[index].attribute[:]
    names = {tensor.name for tensor in large}.union(names_in(light.graph))
    for branch in branches.values():
        for node in branch.node:
            for sub in _graphs(node):
                names.update(_all_defined(sub))
    return names


def _inline(
    proto: onnx.ModelProto, branch: onnx.GraphProto, outputs: list[str], taken: set[str]
) -> None:
    """Adds a branch's nodes and weights; ``outputs`` are the If's, by which its results go on.

    Names of the branch that are in use elsewhere become new ones; several branches may share one.
    """
    names = {name: _fresh(name, taken) for name in _defined(branch)}
    made = {name for node in branch.node for name in node.output}
    passed = []
    for value, output in zip(branch.output, outputs, strict=True):
        if value.name in made and output:
            names[value.name] = output
            made.remove(value.name)
        elif output:
            passed.append((value.name, output))
    for tensor in branch.initializer:
        added = proto.graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = names[tensor.name]
    for node in branch.node:
        added_node = proto.graph.node.add()
        _rename(added_node, node, names)
        added_node.name = _fresh(node.name, taken) if node.name else ""
    for name, output in passed:
        proto.graph.node.add(op_type="Identity", input=[names.get(name, name)], output=[output])


def _fresh(name: str, taken: set[str]) -> str:
    stem, number = name, 0
    while name in taken:
        number += 1
        name = f"{stem}__{number}"
    taken.add(name)
    return name


def _graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [sub for attribute in node.attribute for sub in subgraphs(attribute)]


def _all_defined(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from _defined(graph)
    for node in graph.node:
        for sub in _graphs(node):
            yield from _all_defined(sub)


def _defined(graph: onnx.GraphProto) -> list[str]:
    tensors = [tensor.name for tensor in graph.initializer]
    return [*tensors, *(name for node in graph.node for name in node.output if name)]


def _rename(target: onnx.NodeProto, node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    target.CopyFrom(node)
    for field in (target.input, target.output):
        for i, name in enumerate(field):
            field[i] = names.get(name, name)
    for sub in _graphs(target):
        _rename_inside(sub, names)


def _rename_inside(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames what a subgraph reads from outside; names of its own stay."""
    own = {value.name for value in graph.input}.union(_defined(graph))
    names = {old: new for old, new in names.items() if old not in own}
    for node in graph.node:
        copy = onnx.NodeProto()
        _rename(copy, node, names)
        node.CopyFrom(copy)
    for value in graph.output:
        value.name = names.get(value.name, value.name)
