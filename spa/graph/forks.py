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
        node: the If, with branches that hold nothing but what they declare of their results.
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
    given_out, fixed = ([v.name for v in some] for some in (proto.graph.output, proto.graph.input))
    for fork in reversed(forks):
        parts = _Closing(fork, parts, given_out, fixed).closed()
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


class _Closing:
    """One fork that is being closed.

    Args:
        fork: the fork.
        parts: what the main graph holds.
        given_out: the model's outputs.
        fixed: what is listed among its inputs.
    """

    def __init__(
        self, fork: Fork, parts: _Parts, given_out: Collection[str], fixed: Collection[str]
    ) -> None:
        self._fork = fork
        self._parts = parts
        self._wheres = {
            node.output[0]: node
            for node in parts.nodes
            if node.op_type == "Where" and node.output[0] in fork.outputs
        }
        self._readers: dict[str, set[int]] = {name: {MAIN} for name in given_out}
        self._place = dict.fromkeys(fixed, MAIN)
        # By the side that it belongs to.
        self._held = _Parts(), _Parts(), _Parts()

    def closed(self) -> _Parts:
        """The main graph with the If. What nothing reads, and was not there before, goes."""
        if not self._wheres:
            return self._parts  # nothing reads any of its results any more
        self._sort()
        node = self._fork_node()
        main = self._held[MAIN]
        main.nodes[main.nodes.index(list(self._wheres.values())[-1])] = node
        main.infos.extend(
            info
            for info in self._parts.infos
            if info.name in self._fork.outside or self._place.get(info.name) == MAIN
        )
        return main

    def _sort(self) -> None:
        """Finds what each node and weight belongs to, readers first."""
        wheres = list(self._wheres.values())
        for node in reversed(self._parts.nodes):
            if any(node is where for where in wheres):
                for position, name in enumerate(node.input):  # the condition is of the main graph
                    self._readers.setdefault(name, set()).add(position)
                if node is wheres[-1]:
                    self._held[MAIN].nodes.append(node)  # keeps the If's place
                continue
            side = self._side(node.output)
            if side is None:
                continue
            self._held[side].nodes.append(node)
            self._place.update(dict.fromkeys(node.output, side))
            for name in reads([node]):
                self._readers.setdefault(name, set()).add(side)
        for held in self._held:
            held.nodes.reverse()
        for tensor in self._parts.tensors:
            # Weights that are not held, or are listed as inputs, lie in the main graph alone.
            stays = is_deferred(tensor) or tensor.name in self._place
            side = MAIN if stays else self._side([tensor.name])
            if side is not None:
                self._held[side].tensors.append(tensor)
                self._place[tensor.name] = side

    def _side(self, names: Collection[str]) -> int | None:
        """Who alone reads some tensors; the main graph where several do, None where nobody does."""
        if not self._fork.outside.isdisjoint(names):
            return MAIN
        found = {side for name in names for side in self._readers.get(name, ())}
        return found.pop() if len(found) == 1 else MAIN if found else None

    def _fork_node(self) -> onnx.NodeProto:
        """The If. A result that is read no more has gone; the others keep their order."""
        node = onnx.NodeProto()
        node.CopyFrom(self._fork.node)
        left = [i for i, name in enumerate(self._fork.outputs) if name in self._wheres]
        node.output[:] = [self._fork.outputs[i] for i in left]
        wheres = [self._wheres[name] for name in node.output]
        node.input[0] = wheres[0].input[0]
        for side, which in enumerate(BRANCHES, start=THEN):
            graph = branch_of(node, which)
            declared = [graph.output[i] for i in left]
            graph.node.extend(self._held[side].nodes)
            graph.initializer.extend(self._held[side].tensors)
            results = [
                self._result(graph, where.input[side], value, side)
                for where, value in zip(wheres, declared, strict=True)
            ]
            graph.ClearField("output")
            graph.output.extend(results)
        return node

    def _result(
        self, graph: onnx.GraphProto, operand: str, declared: onnx.ValueInfoProto, side: int
    ) -> onnx.ValueInfoProto:
        """What a branch declares of a result; ONNX wants a node of its own behind it."""
        value = onnx.ValueInfoProto(name=operand)
        known = [info for info in self._parts.infos if info.name == operand]
        constants = [tensor for tensor in self._parts.tensors if tensor.name == operand]
        if known:
            value.CopyFrom(known[0])
        elif constants:
            value = onnx.helper.make_tensor_value_info(
                operand, constants[0].data_type, constants[0].dims
            )
        elif declared.type.HasField("tensor_type"):  # another tensor, whose sizes nobody stated
            value.type.tensor_type.elem_type = declared.type.tensor_type.elem_type
        if self._place.get(operand) != side:
            value.name = f"{operand}__{BRANCHES[side - THEN]}"
            while value.name in self._place:
                value.name += "_"
            self._place[value.name] = side
            graph.node.add(op_type="Identity", input=[operand], output=[value.name])
        return value


def _emptied(node: onnx.NodeProto) -> onnx.NodeProto:
    """An If whose branches hold nothing."""
    empty = onnx.NodeProto()
    empty.CopyFrom(node)
    for which in BRANCHES:
        graph = branch_of(empty, which)
        for name in ("node", "initializer", "value_info", "quantization_annotation"):
            graph.ClearField(name)
    return empty


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from filter(None, node.output)
