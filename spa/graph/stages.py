"""A model in stages, each with no more weights than fit well into memory.

A stage is some nodes that follow one another. It takes tensors of earlier stages and the weights
that its nodes read, and gives the tensors that later stages, or the caller, want. What is computed
from weights alone is computed just before its first use, wherever the file has it: some files
transpose or cast all weights before anything else.

Weights enter as inputs, so that ONNX Runtime makes no copies of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from spa.graph.deferred import is_deferred, size_of
from spa.graph.nodes import all_nodes, reads, real_inputs, set_nodes
from spa.graph.weightless import list_as_inputs, shell

# Bytes of weights in a stage, or of one node's weights where these are more.
STAGE_BYTES = 2**28
# Operators that make or hand on what is no tensor.
LISTS = ("Sequence", "Optional")


@dataclass(frozen=True)
class Stage:
    """Some nodes of a model.

    Attributes:
        nodes: in an order in which they can run.
        weights: large weights that they read.
        takes: tensors of earlier stages that they read.
        gives: tensors that are wanted of them.
        last: tensors that no later stage wants.
    """

    nodes: tuple[onnx.NodeProto, ...]
    weights: tuple[onnx.TensorProto, ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    last: tuple[str, ...]

    def model(self, light: onnx.ModelProto, types: Mapping[str, int]) -> onnx.ModelProto:
        """The stage as a model of its own.

        Args:
            light: the whole model, which lacks the large weights.
            types: element types of what it takes.
        """
        read = set(reads(self.nodes))
        model = shell(light)
        set_nodes(model.graph, self.nodes)
        model.graph.initializer.extend(t for t in light.graph.initializer if t.name in read)
        del model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
        small = {tensor.name for tensor in model.graph.initializer}
        model.graph.input.extend(v for v in light.graph.input if v.name in small)
        model.graph.input.extend(
            onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()
        )
        list_as_inputs(model.graph, self.weights)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.gives)
        return model

    def inputs(self, light: onnx.ModelProto, known: Collection[str]) -> list[str]:
        """Names of what is fed beside the weights; small initializers may be among it."""
        read = set(reads(self.nodes))
        listed = [value.name for value in light.graph.input if value.name in read & set(known)]
        return list(dict.fromkeys([*self.takes, *listed]))


def is_long(proto: onnx.ModelProto, weights: Iterable[onnx.TensorProto] = ()) -> bool:
    """Whether a model has weights that are not held, and takes more than a stage."""
    large = [t for t in (*proto.graph.initializer, *weights) if is_deferred(t)]
    return sum(map(size_of, large)) > STAGE_BYTES


def handles_lists(proto: onnx.ModelProto) -> bool:
    """Whether some tensors of a model may be lists, or absent."""
    return any(
        any(word in node.op_type for word in LISTS) or node.domain == "ai.onnx.ml"
        for node in all_nodes(proto.graph.node)
    )


def stages(
    light: onnx.ModelProto, large: Sequence[onnx.TensorProto], wanted: Collection[str]
) -> list[Stage]:
    """Cuts a model; one that handles lists is a single stage.

    Args:
        light: the model without its large weights.
        large: these.
        wanted: tensors that the caller wants.
    """
    weights = {tensor.name: tensor for tensor in large}
    held = {tensor.name for tensor in light.graph.initializer} | weights.keys()
    if handles_lists(light):  # these cannot go from stage to stage
        runs = [list(light.graph.node)]
    else:
        runs = _runs(_just_in_time(light.graph, held), weights)
    made_in = {
        name: i for i, run in enumerate(runs) for node in run for name in node.output if name
    }
    made_in.update((value.name, -1) for value in real_inputs(light.graph) if value.name not in held)
    read_in: dict[str, int] = dict.fromkeys(wanted, len(runs))
    for i, run in reversed(list(enumerate(runs))):
        for name in reads(run):
            read_in.setdefault(name, i)
    result = []
    for i, run in enumerate(runs):
        read = dict.fromkeys(reads(run))
        result.append(
            Stage(
                nodes=tuple(run),
                weights=tuple(weights[name] for name in read if name in weights),
                takes=tuple(name for name in read if made_in.get(name, i) < i),
                gives=tuple(n for n, made in made_in.items() if made == i < read_in.get(n, -1)),
                last=tuple(n for n, last in read_in.items() if last == i and n in made_in),
            )
        )
    return result


def _runs(
    nodes: Iterable[onnx.NodeProto], weights: Mapping[str, onnx.TensorProto]
) -> list[list[onnx.NodeProto]]:
    """Nodes that follow one another, with so many bytes of weights at most."""
    runs: list[list[onnx.NodeProto]] = [[]]
    there: set[str] = set()
    for node in nodes:
        more = {name for name in reads([node]) if name in weights}
        if runs[-1] and more - there:
            total = sum(size_of(weights[name]) for name in more | there)
            if total > STAGE_BYTES:
                runs.append([])
                there = set()
        there |= more
        runs[-1].append(node)
    return runs


def _just_in_time(graph: onnx.GraphProto, held: Collection[str]) -> list[onnx.NodeProto]:
    """All nodes; those that compute from weights alone just before the first that reads them."""
    constant = set(held)
    waiting: dict[str, onnx.NodeProto] = {}
    order: list[onnx.NodeProto] = []

    def settle(node: onnx.NodeProto) -> None:
        pending = [node]
        while pending:
            first = [waiting[n] for n in reads([pending[-1]]) if n in waiting]
            if first:
                pending.append(first[0])
                continue
            order.append(pending.pop())
            for name in order[-1].output:
                waiting.pop(name, None)

    for node in graph.node:
        read = set(reads([node]))
        if read and constant.issuperset(read):
            constant.update(node.output)
            waiting.update((name, node) for name in node.output if name)
        else:
            settle(node)
    while waiting:
        settle(next(iter(waiting.values())))
    return order
