"""Ifs are opened when a model is loaded, and closed again in what SPA gives out.

    y = If(c) {then: a, else: b}    opened: nodes and weights of both branches, y = Where(c, a, b)

1. An opened model computes the same wherever both branches can run: whatever follows channels,
   scores, cuts or trains sees a graph without subgraphs. All names in it are unique; names that
   branches share get a number.
2. Closing puts everything that was not in the main graph before back into the branch that alone
   reads it, under the names of the opened model. So branches get what surgery added for them, and
   opening what was closed gives the opened model again.

Forks within forks are opened after the outer ones, and closed before them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import onnx

from spa.graph.deferred import is_deferred
from spa.graph.inlining import BRANCHES, Inliner, branch_of
from spa.graph.nodes import reads
from spa.graph.weightless import shell

# What a node or weight belongs to: 1 and 2 are the positions of a Where's operands.
MAIN, THEN, ELSE = 0, 1, 2


@dataclass(frozen=True)
class Fork:
    """An If that was opened.

    Attributes:
        node: the If, with branches that hold nothing.
        outputs: its results, by order.
        outside: names in the main graph before; the branches' own are not among them.
    """

    node: onnx.NodeProto
    outputs: tuple[str, ...]
    outside: frozenset[str]


def open_forks(
    proto: onnx.ModelProto, indices: Collection[int]
) -> tuple[onnx.ModelProto, tuple[Fork, ...]]:
    """A copy of a model in which some Ifs of the main graph are opened.

    Args:
        proto: the model; it is not changed.
        indices: the Ifs' places among the nodes.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    nodes = proto.graph.node
    branches = {i: [branch_of(nodes[i], which) for which in BRANCHES] for i in indices}
    inliner = Inliner.beside(proto, branches, result)
    outside = frozenset(_names(proto.graph))
    forks = []
    for index, node in enumerate(nodes):
        if index not in branches:
            result.graph.node.append(node)
            continue
        operands = []
        for branch in branches[index]:
            operands.append(inliner.add(branch))
            for value, name in zip(branch.output, operands[-1], strict=True):
                if value.HasField("type"):  # sizes that it states follow surgery there
                    result.graph.value_info.add().CopyFrom(value)
                    result.graph.value_info[-1].name = name
        for output, then, other in zip(node.output, *operands, strict=True):
            result.graph.node.add(
                op_type="Where",
                name=inliner.free_node(node.name or output),
                input=[node.input[0], then, other],
                output=[output],
            )
        forks.append(Fork(_emptied(node), tuple(node.output), outside))
    return result, tuple(forks)


def opened_like(proto: onnx.ModelProto, forks: Sequence[Fork]) -> onnx.ModelProto:
    """Opens the Ifs of a closed model that make the results of some forks.

    The model itself, where none does.
    """
    results = {name for fork in forks for name in fork.outputs}
    while True:
        places = [
            index
            for index, node in enumerate(proto.graph.node)
            if node.op_type == "If" and not results.isdisjoint(node.output)
        ]
        if not places:
            return proto
        proto, _ = open_forks(proto, places)


def close_forks(proto: onnx.ModelProto, forks: Sequence[Fork]) -> onnx.ModelProto:
    """The inverse of opening, for an opened model that was changed in between, or not.

    Args:
        proto: the model; it is not changed.
        forks: all that was opened, in order.
    """
    if not forks:
        return proto
    parts = _Parts(
        list(proto.graph.node), list(proto.graph.initializer), list(proto.graph.value_info)
    )
    given_out = {value.name for value in proto.graph.output}
    fixed = {value.name for value in proto.graph.input}
    for fork in reversed(forks):
        parts = _closed(fork, parts, given_out, fixed)
    result = shell(proto)
    for name in ("node", "value_info"):
        result.graph.ClearField(name)
    result.graph.node.extend(parts.nodes)
    result.graph.initializer.extend(parts.tensors)
    result.graph.value_info.extend(parts.infos)
    return result


@dataclass(frozen=True)
class _Parts:
    """What a graph holds, by order."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    infos: list[onnx.ValueInfoProto] = field(default_factory=list)


def _closed(fork: Fork, parts: _Parts, given_out: set[str], fixed: set[str]) -> _Parts:
    """Closes one fork. What nothing reads in the end, and was not there before, goes."""
    results = [n for n in parts.nodes if n.op_type == "Where" and n.output[0] in fork.outputs]
    if not results:
        return parts  # nothing reads any of its results any more
    readers: dict[str, set[int]] = {name: {MAIN} for name in given_out}
    kept = _Parts(), _Parts(), _Parts()
    place = {name: MAIN for name in fixed}
    for node in reversed(parts.nodes):
        if any(node is result for result in results):
            for position, name in enumerate(node.input):  # the main graph reads the condition
                readers.setdefault(name, set()).add(position)
            if node is results[-1]:
                kept[MAIN].nodes.append(node)  # keeps the place
            continue
        side = _side(node.output, readers)
        if not fork.outside.isdisjoint(node.output):
            side = MAIN
        if side is None:
            continue
        kept[side].nodes.append(node)
        place.update(dict.fromkeys(node.output, side))
        for name in reads([node]):
            readers.setdefault(name, set()).add(side)
    for tensor in parts.tensors:
        # Weights that are not held lie in the main graph alone (`spa.graph.deferred`).
        side = _side([tensor.name], readers)
        if tensor.name in fork.outside or tensor.name in fixed or is_deferred(tensor):
            side = MAIN
        if side is not None:
            kept[side].tensors.append(tensor)
            place[tensor.name] = side
    for part in kept:
        part.nodes.reverse()
    node = onnx.NodeProto()
    node.CopyFrom(fork.node)
    node.input[0] = results[0].input[0]
    # A result that is read no more has gone; the others keep their order.
    left = {result.output[0]: result for result in results}
    outputs = [name for name in fork.outputs if name in left]
    node.ClearField("output")
    node.output.extend(outputs)
    infos = {info.name: info for info in parts.infos}
    for number, which in enumerate(BRANCHES, start=THEN):
        operands = [left[name].input[number] for name in outputs]
        _fill(branch_of(node, which), kept[number], operands, number, place, infos)
    here = kept[MAIN]
    last = next(i for i, kept_node in enumerate(here.nodes) if kept_node is results[-1])
    here.nodes[last] = node
    here.infos.extend(
        info for info in parts.infos if info.name in fork.outside or place.get(info.name) == MAIN
    )
    return here


def _side(names: Collection[str], readers: dict[str, set[int]]) -> int | None:
    """Who alone reads some tensors; the main graph where several do, None where nobody does."""
    found = set().union(*(readers.get(name, set()) for name in names))
    return found.pop() if len(found) == 1 else MAIN if found else None


def _fill(
    graph: onnx.GraphProto,
    part: _Parts,
    operands: Sequence[str],
    side: int,
    place: dict[str, int],
    infos: dict[str, onnx.ValueInfoProto],
) -> None:
    """Gives a branch what it holds; ``operands`` are its results."""
    graph.node.extend(part.nodes)
    graph.initializer.extend(part.tensors)
    for operand in operands:
        name = operand
        if place.get(operand) != side:  # ONNX wants a node behind every result of a branch
            name = f"{operand}__{BRANCHES[side - 1]}"
            while name in place:
                name += "_"
            place[name] = side
            graph.node.add(op_type="Identity", input=[operand], output=[name])
        value = graph.output.add()
        if operand in infos:
            value.CopyFrom(infos[operand])
        value.name = name


def _emptied(node: onnx.NodeProto) -> onnx.NodeProto:
    """An If whose branches hold nothing."""
    empty = onnx.NodeProto()
    empty.CopyFrom(node)
    for which in BRANCHES:
        graph = branch_of(empty, which)
        for name in ("node", "initializer", "value_info", "output", "quantization_annotation"):
            graph.ClearField(name)
    return empty


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from filter(None, node.output)
