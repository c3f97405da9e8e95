"""What torch's exporters leave around a graph, taken away.

1. Identity of an initializer: the exporter shares equal tensors. Where the state_dict knows the
   Identity's output as another tensor, it becomes an initializer again; elsewhere, and for tied
   parameters, the readers take the source.
2. Constant arithmetic on shapes and scalars is folded (onnxscript's folder, told to keep its
   hands off parameters: what is computed from a parameter is left to the graph).
3. A bias of zeros that no parameter stands for (torch.export writes one into every convolution
   without bias) is dropped: it would train.
4. ``value_info``, doc strings and metadata (stack traces of the export) are dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
import onnx_ir
from onnx import numpy_helper
from onnxscript import optimizer
from torch import Tensor

from spa.bridge.normalise import constant_of
from spa.graph.nodes import all_nodes, subgraphs


def tidy(proto: onnx.ModelProto, state: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Return the exported model without the exporter's clutter.

    Args:
        proto: the model as exported.
        state: the module's state_dict with its own tensors, so that tied ones are one object.
    """
    _resolve_identities(proto.graph, state)
    proto = _folded(proto, set(state))
    _drop_zero_biases(proto.graph, set(state))
    _drop_unused(proto.graph)
    _drop_notes(proto)
    return proto


def _folded(proto: onnx.ModelProto, parameters: Collection[str]) -> onnx.ModelProto:
    """Case 2."""

    def should_fold(node: onnx_ir.Node) -> bool | None:
        if node.op_type == "Shape":
            return None
        touched = any(value is not None and value.name in parameters for value in node.inputs)
        return False if touched or node.op_type == "Identity" else None

    # Sizes that do not depend on the batch are constants only once the shapes are known.
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    _forget_carried_shapes(inferred.graph)
    model = onnx_ir.from_proto(inferred)
    optimizer.fold_constants_ir(model, onnx_shape_inference=True, should_fold=should_fold)
    return onnx_ir.to_proto(model)


def _forget_carried_shapes(graph: onnx.GraphProto) -> None:
    """A Loop carries what grows; the file may give it the empty shape that it begins with.

    Runtimes want its rank, so only the sizes go.
    """
    for node in all_nodes(graph.node):
        for attribute in node.attribute:
            for body in subgraphs(attribute):
                for value in body.input:
                    for dim in value.type.tensor_type.shape.dim:
                        dim.Clear()


def _resolve_identities(graph: onnx.GraphProto, state: Mapping[str, Tensor]) -> None:
    """Case 1."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    for node in list(graph.node):
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type != "Identity" or node.input[0] not in tensors:
            continue
        source, target = node.input[0], node.output[0]
        if target in outputs:
            continue
        if target in state and state[target] is not state.get(source):
            fresh = graph.initializer.add()
            fresh.CopyFrom(tensors[source])
            fresh.name = target
            tensors[target] = fresh
        else:
            renamed[target] = source
        graph.node.remove(node)


def _drop_zero_biases(graph: onnx.GraphProto, parameters: Collection[str]) -> None:
    """Case 3."""
    tensors = {t.name: t for t in graph.initializer if t.name not in parameters}
    for node in graph.node:
        tensor = constant_of(node)
        if tensor is not None:
            tensors[node.output[0]] = tensor
        if node.op_type in ("Conv", "ConvTranspose") and len(node.input) == 3:
            bias = tensors.get(node.input[2])
            if bias is not None and not np.any(numpy_helper.to_array(bias)):
                del node.input[2]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    used = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if used.isdisjoint(node.output):
            graph.node.remove(node)
            continue
        used.update(node.input)
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                used.update(_names_in(inner))
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def _names_in(graph: onnx.GraphProto) -> set[str]:
    """All names that a subgraph reads, its own included."""
    names = {name for node in graph.node for name in node.input}
    names.update(value.name for value in graph.output)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                names |= _names_in(inner)
    return names


def _drop_notes(proto: onnx.ModelProto) -> None:
    """Case 4."""
    graph = proto.graph
    del graph.value_info[:]
    del proto.metadata_props[:]
    proto.ClearField("doc_string")
    for part in [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
