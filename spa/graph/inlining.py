"""Nodes and weights of subgraphs go to the main graph, under names that are free there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from spa.graph.nodes import all_nodes, graphs_of
from spa.graph.read import names_in
from spa.graph.weightless import without_weights

BRANCHES = ("then_branch", "else_branch")


def branch_of(node: onnx.NodeProto, which: str) -> onnx.GraphProto:
    """A branch of an If: one of `BRANCHES`."""
    graph: onnx.GraphProto = next(a.g for a in node.attribute if a.name == which)
    return graph


@dataclass(frozen=True)
class Inliner:
    """Adds branches to a main graph, which has lost the Ifs that they are of.

    Attributes:
        proto: the model that is being made.
        taken: names that no tensor may get any more.
        taken_by_nodes: names that no node may get.
    """

    proto: onnx.ModelProto
    taken: set[str]
    taken_by_nodes: set[str]

    @staticmethod
    def beside(
        proto: onnx.ModelProto,
        branches: Mapping[int, Collection[onnx.GraphProto]],
        result: onnx.ModelProto,
    ) -> Inliner:
        """For some branches of a model's Ifs, by index.

        What stays beside these Ifs keeps its names, and so do subgraphs further in.
        """
        light, large = without_weights(proto)
        for index in branches:
            del light.graph.node[index].attribute[:]
        taken = {tensor.name for tensor in large}.union(names_in(light.graph))
        for graphs in branches.values():
            for node in (node for graph in graphs for node in graph.node):
                for sub in graphs_of(node):
                    taken.update(_all_defined(sub))
        return Inliner(result, taken, {node.name for node in all_nodes(light.graph.node)})

    def add(self, branch: onnx.GraphProto, results: Sequence[str] | None = None) -> list[str]:
        """Adds a branch's nodes and weights.

        Names of the branch that are in use elsewhere become new ones.

        Args:
            branch: what is added.
            results: names that its results get; "" where nobody asks for one. None leaves them
                what they are.

        Returns:
            The names of its results; "" as in ``results``.
        """
        names = {name: self.free(name) for name in _defined(branch)}
        made = {name for node in branch.node for name in node.output}
        passed = []
        for value, result in zip(branch.output, results or [], strict=results is not None):
            if value.name in made and result:
                names[value.name] = result
                made.remove(value.name)
            elif result:
                passed.append((value.name, result))
        for tensor in branch.initializer:
            added = self.proto.graph.initializer.add()
            added.CopyFrom(tensor)
            added.name = names[tensor.name]
        for node in branch.node:
            added_node = self.proto.graph.node.add()
            _rename(added_node, node, names)
            if node.name:
                added_node.name = self.free_node(node.name)
        for name, result in passed:
            source = names.get(name, name)
            self.proto.graph.node.add(op_type="Identity", input=[source], output=[result])
        if results is not None:
            return list(results)
        return [names.get(value.name, value.name) for value in branch.output]

    def free(self, name: str) -> str:
        """A name for a tensor that nothing has yet, the given one where possible."""
        return _free(name, self.taken)

    def free_node(self, name: str) -> str:
        """The same for a node."""
        return _free(name, self.taken_by_nodes)


def _free(name: str, taken: set[str]) -> str:
    stem, number = name, 0
    while name in taken:
        number += 1
        name = f"{stem}__{number}"
    taken.add(name)
    return name


def _all_defined(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from _defined(graph)
    for node in graph.node:
        for sub in graphs_of(node):
            yield from _all_defined(sub)


def _defined(graph: onnx.GraphProto) -> list[str]:
    tensors = [tensor.name for tensor in graph.initializer]
    return [*tensors, *(name for node in graph.node for name in node.output if name)]


def _rename(target: onnx.NodeProto, node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    target.CopyFrom(node)
    for field in (target.input, target.output):
        for i, name in enumerate(field):
            field[i] = names.get(name, name)
    for sub in graphs_of(target):
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
