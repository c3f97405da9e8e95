"""What the subgraphs of If, Loop and Scan hold and cost. They stay dense, but they count.

Ifs that were opened have none any more (`spa.graph.opening`): both branches count in full. MACs
need shapes, which a run does not show inside of a subgraph.
1. If: the branch that the example took is run in its place.
2. Loop: its body counts once per trip, where the number of trips is fixed; else once.
3. Scan: its body counts once per scanned entry.

Inside of a Loop or Scan, shapes are inferred from those that the run shows outside, and of an If's
branches the costlier one counts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from spa.errors import ModelError
from spa.graph.nodes import Graph, Node, read_node, subgraphs
from spa.graph.weightless import without_weights

if TYPE_CHECKING:
    from spa.graph.model import Model

WEIGHT_TYPES = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
)  # fmt: skip

Shapes = Mapping[str, tuple[int, ...]]
# MACs of one node of a graph whose shapes are known.
NodeMacs = Callable[[Node, Shapes], float]


@dataclass(frozen=True)
class InnerWeight:
    """A floating constant of more than one element inside of a subgraph.

    Attributes:
        node: index of the main graph's node that holds the subgraph.
        name: the initializer's name, or that of the Constant's output.
        tensor: its value.
    """

    node: int
    name: str
    tensor: onnx.TensorProto


def inner_weights(model: Model) -> Iterator[InnerWeight]:
    """The weights that subgraphs of the main graph's nodes hold, however deep."""
    for node in model.graph.nodes:
        if not node.has_subgraphs:
            continue
        for graph in _graphs(model.proto.graph.node[node.index]).values():
            for name, tensor in _tensors(graph):
                if tensor.data_type in WEIGHT_TYPES and math.prod(tensor.dims) > 1:
                    yield InnerWeight(node.index, name, tensor)


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], a.t) for a in node.attribute if a.HasField("t"))
        for sub in _graphs(node).values():
            yield from _tensors(sub)


def inner_macs(model: Model, macs_of: NodeMacs) -> dict[int, float]:
    """MACs inside the nodes of the main graph that have subgraphs, by a node's index."""
    forks = [node for node in model.graph.nodes if node.has_subgraphs]
    if not forks:
        return {}
    opened = _opened(model)
    total = _loops_macs(opened, macs_of) + sum(
        macs_of(node, opened.shapes) for node in opened.graph.nodes
    )
    own = sum(macs_of(node, model.shapes) for node in model.graph.nodes)
    return {forks[0].index: total - own}


def _opened(model: Model) -> Model:
    """The model with the branches that its example takes in place of the Ifs."""  # 1
    from spa.graph.branches import take_branches
    from spa.graph.observe import Observer

    while True:
        values = {**model.observed.values, **model.example}
        taken = {
            node.index: bool(values[node.inputs[0]].reshape(-1)[0])
            for node in model.graph.nodes
            if node.op == "If" and node.inputs[0] in values
        }
        if not taken:
            return model
        proto = take_branches(model.proto, taken)
        try:
            observed = Observer(proto).run(model.example)
        except ModelError:
            return model
        model = dataclasses.replace(
            model, proto=proto, graph=Graph.from_proto(proto), observed=observed, varied=None
        )


def _loops_macs(model: Model, macs_of: NodeMacs) -> float:
    loops = [node for node in model.graph.nodes if node.has_subgraphs]
    if not loops:
        return 0.0
    inferred = _inferred(model)
    return sum(
        _fork_macs(inferred.graph.node[node.index], node, model, model.shapes, macs_of)
        for node in loops
    )


def _graphs(node: onnx.NodeProto) -> dict[str, onnx.GraphProto]:
    return {a.name: graph for a in node.attribute for graph in subgraphs(a)}


def _inferred(model: Model) -> onnx.ModelProto:
    """The model with the run's shapes outside of subgraphs, and inferred ones inside."""
    light, large = without_weights(model.proto)
    del light.graph.value_info[:]
    known = {v.name: v for v in light.graph.input}
    light.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(model.observed.dtypes[name]), shape
        )
        for name, shape in model.observed.shapes.items()
        if name in model.observed.dtypes and name not in known
    )
    for name, value in known.items():
        if name in model.example:
            value.type.tensor_type.shape.CopyFrom(_shape(model.example[name].shape))
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in large
        if tensor.name not in known
    )
    for node in light.graph.node:
        if node.op_type == "Loop":
            _declare_states(node, model.shapes)
    try:
        return onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return light  # what is not known then counts nothing


def _declare_states(loop: onnx.NodeProto, shapes: Shapes) -> None:
    """A Loop's states mostly keep their shape, which inference does not take for granted."""
    for body in _graphs(loop).values():
        for state, first in zip(body.input[2:], loop.input[2:], strict=False):
            if first in shapes and not state.type.tensor_type.HasField("shape"):
                state.type.tensor_type.shape.CopyFrom(_shape(shapes[first]))


def _shape(sizes: Iterable[int]) -> onnx.TensorShapeProto:
    dims = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in sizes]
    return onnx.TensorShapeProto(dim=dims)


def _fork_macs(
    proto: onnx.NodeProto, node: Node, model: Model, outer: Shapes, macs_of: NodeMacs
) -> float:
    """Branches are numbered as in the module's text."""
    macs = {
        name: _graph_macs(graph, model, outer, macs_of) for name, graph in _graphs(proto).items()
    }
    if node.op == "If":
        return max(macs.values())
    total = sum(macs.values())
    if node.op == "Loop":  # 2
        trips = model.static_value(node.inputs[0]) if node.has_input(0) else None
        return total * max(0, int(trips.reshape(-1)[0])) if trips is not None else total
    if node.op == "Scan":  # 3
        scanned = int(node.attr("num_scan_inputs", 1))
        axis = (node.attr("scan_input_axes") or [0])[0]
        sizes = outer.get(node.inputs[len(node.inputs) - scanned], ())
        return total * sizes[axis] if sizes else total
    return total


def _graph_macs(graph: onnx.GraphProto, model: Model, outer: Shapes, macs_of: NodeMacs) -> float:
    shapes = dict(outer)
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    shapes.update((tensor.name, tuple(tensor.dims)) for tensor in graph.initializer)
    total = 0.0
    for index, proto in enumerate(graph.node):
        node = read_node(index, proto)
        total += macs_of(node, shapes)
        if _graphs(proto):
            total += _fork_macs(proto, node, model, shapes, macs_of)
    return total
