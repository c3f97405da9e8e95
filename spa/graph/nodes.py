"""The graph as SPA sees it: nodes with decoded attributes, who produces and who consumes a tensor.

It is a read-only view of a ``ModelProto``. Nothing here changes the file that came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import onnx

from spa.errors import ModelError

DEFAULT_DOMAINS = ("", "ai.onnx")
# Operators that draw random numbers.
RANDOM_OPS = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One operator call.

    Attributes:
        index: position in the file; nodes are topologically sorted, as ONNX demands.
        name: the node's name, or ``<op>_<index>`` where the file has none.
        op: operator type; operators outside the standard domain read ``domain::Op``.
        inputs: tensor names; ``""`` for an optional input that is left out.
        outputs: tensor names; ``""`` for an optional output that nobody asked for.
        attrs: decoded attributes; subgraphs are left out.
        captured: outer tensors that the node's subgraphs read.
        has_subgraphs: whether it holds any.
    """

    index: int
    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    captured: tuple[str, ...] = ()
    has_subgraphs: bool = False

    def attr(self, name: str, default: Any = None) -> Any:
        """Returns an attribute, or ``default`` where the file leaves it out."""
        return self.attrs.get(name, default)

    def has_input(self, i: int) -> bool:
        """Says whether input ``i`` is there (optional inputs may be left out)."""
        return i < len(self.inputs) and self.inputs[i] != ""

    def __str__(self) -> str:
        return f'{self.op} "{self.name}"'


class Use(NamedTuple):
    """One place where a tensor is read: input ``position`` of node ``node``."""

    node: int
    position: int


def name_of_read(name: str, use: Use) -> str:
    """What a parameter is called as one node reads it, where every read may shrink by itself."""
    return f"{name}@{use.node}:{use.position}"


@dataclass(frozen=True)
class Graph:
    """A model's main graph.

    Attributes:
        nodes: in topological order.
        inputs: the real inputs (an initializer that is listed as an input too is not one).
        outputs: names of the graph outputs.
        opsets: version by domain.
        initializers: their protos by name.
        producers: the node that makes a tensor.
        uses: every place that reads a tensor; reads from inside subgraphs are not listed.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: Mapping[str, int]
    initializers: Mapping[str, onnx.TensorProto]
    producers: Mapping[str, Node]
    uses: Mapping[str, tuple[Use, ...]]

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return self.opsets.get("", self.opsets.get("ai.onnx", 1))

    @cached_property
    def captured(self) -> frozenset[str]:
        """Outer tensors that any subgraph reads."""
        return frozenset(name for node in self.nodes for name in node.captured)

    @staticmethod
    def from_proto(proto: onnx.ModelProto) -> Graph:
        """Reads the main graph of a model."""
        graph = proto.graph
        initializers = {tensor.name: tensor for tensor in graph.initializer}
        nodes = tuple(read_node(i, node) for i, node in enumerate(graph.node))
        return Graph(
            nodes=nodes,
            inputs=tuple(v.name for v in graph.input if v.name not in initializers),
            outputs=tuple(v.name for v in graph.output),
            opsets={entry.domain: entry.version for entry in proto.opset_import},
            initializers=initializers,
            producers={name: node for node in nodes for name in node.outputs if name},
            uses=_uses(nodes),
        )


def _uses(nodes: Iterable[Node]) -> dict[str, tuple[Use, ...]]:
    table: dict[str, list[Use]] = {}
    for node in nodes:
        for position, name in enumerate(node.inputs):
            if name:
                table.setdefault(name, []).append(Use(node.index, position))
    return {name: tuple(uses) for name, uses in table.items()}


def qualified_op(node: onnx.NodeProto) -> str:
    """Operator type, with its domain where that is not the standard one."""
    standard = node.domain in DEFAULT_DOMAINS
    return node.op_type if standard else f"{node.domain}::{node.op_type}"


def subgraphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs that an attribute holds."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of their subgraphs, however deep."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for sub in subgraphs(attribute):
                yield from all_nodes(sub.node)


def reads(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Names that nodes and their subgraphs read, in order."""
    for node in nodes:
        yield from filter(None, node.input)
        for attribute in node.attribute:
            for sub in subgraphs(attribute):
                yield from filter(None, names_read(sub))


def names_read(graph: onnx.GraphProto) -> set[str]:
    """Every name that a graph's nodes or its subgraphs read, or give out."""
    return {value.name for value in graph.output}.union(reads(graph.node))


def real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Inputs that the user gives: old files list their initializers as inputs too."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def set_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Gives a graph other nodes, some of which may be its own: deleting them would empty these."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def read_node(index: int, node: onnx.NodeProto) -> Node:
    """Decodes a node's attributes and names.

    Raises:
        ModelError: an attribute is that of a function around the node, and there is none.
    """
    attrs: dict[str, Any] = {}
    has_subgraphs = False
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            has_subgraphs = True
            continue
        if attribute.ref_attr_name:
            raise ModelError(
                f'Attribute "{attribute.name}" of {node.op_type} "{node.name}" refers to '
                f'"{attribute.ref_attr_name}" of a function, but no function is around it; the '
                "file is damaged."
            )
        value = onnx.helper.get_attribute_value(attribute)
        attrs[attribute.name] = (
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        )
    op = qualified_op(node)
    return Node(
        index=index,
        name=node.name or f"{op}_{index}",
        op=op,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attrs=attrs,
        captured=captured(node) if has_subgraphs else (),
        has_subgraphs=has_subgraphs,
    )


def graphs_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """A node's subgraphs."""
    return [sub for attribute in node.attribute for sub in subgraphs(attribute)]


def captured(node: onnx.NodeProto) -> tuple[str, ...]:
    """Outer tensors that a node's subgraphs read, each once."""
    return tuple(dict.fromkeys(name for sub in graphs_of(node) for name in _outer_names(sub)))


def _outer_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a subgraph reads and does not define itself."""
    defined = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name and name not in defined:
                yield name
        for attribute in node.attribute:
            for sub in subgraphs(attribute):
                yield from (name for name in _outer_names(sub) if name not in defined)
        defined.update(node.output)
    yield from (v.name for v in graph.output if v.name not in defined)
