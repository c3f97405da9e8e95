"""The graph as the bridge reads it: plain nodes, and constants by name.

What a file may hold, and what becomes of it:

1. Model-local functions are inlined.
2. Constant nodes and initializers are both just constants; an initializer that is listed as a
   graph input too is no input. ``value_info`` is not looked at.
3. Identity of a constant. Exporters share equal tensors this way. A vector, or a tensor of one
   repeated value, is equal by coincidence of initialisation: it becomes a constant of its own,
   under the Identity's output name. Any other is tied on purpose: one constant, the first name.
4. Running statistics that also serve elsewhere (as a fresh bias of zeros, or in another batch
   norm with other parameters) are separated, as they will not stay equal.
5. Optional outputs that nothing reads (statistics that a norm of training graphs gives): they are
   as good as not there.
6. What subgraphs read from around them is listed behind their node's own inputs, each once.

Nothing here changes the model handed in. ``separate`` carries out 3 and 4 on a copy of it, for
the constants whose values have parted.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from spa.errors import BridgeError
from spa.graph import functions
from spa.graph.nodes import captured, names_read


@dataclass(frozen=True)
class PlainGraph:
    """Nodes in order, and everything that is known before they run.

    Attributes:
        nodes: copies of the nodes, without Constant and without resolved Identity nodes.
        constants: tensors by name.
        inputs: names of the graph's true inputs.
        outputs: names of its outputs.
        opsets: opset version by domain (``""`` for ONNX's own).
        copies: name of each separated constant -> name of the constant that it began as.
    """

    nodes: list[onnx.NodeProto]
    constants: dict[str, onnx.TensorProto]
    inputs: list[str]
    outputs: list[str]
    opsets: dict[str, int]
    copies: dict[str, str] = field(default_factory=dict)


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the model without model-local functions."""
    if not proto.functions:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        return copy
    return functions.inlined(proto)


def constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return a Constant node's tensor, or None where it is not a numeric one."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or not node.attribute:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor: onnx.TensorProto = attribute.t
        return tensor
    if attribute.name in ("value_float", "value_floats"):
        dtype: type[np.generic] = np.float32
    elif attribute.name in ("value_int", "value_ints"):
        dtype = np.int64
    else:
        return None
    value = np.asarray(onnx.helper.get_attribute_value(attribute), dtype)
    return numpy_helper.from_array(value, node.output[0])


def plain_graph(proto: onnx.ModelProto) -> PlainGraph:
    """Read a model as described in the module's docstring.

    Raises:
        BridgeError: sparse initializers.
    """
    model = inlined(proto)
    graph = model.graph
    if graph.sparse_initializer:
        raise BridgeError(
            f'initializer "{graph.sparse_initializer[0].values.name}" is sparse; '
            "make it dense before the model is turned into a PyTorch module."
        )
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        tensor = constant_of(node)
        if tensor is not None:
            constants[node.output[0]] = tensor
        else:
            node.input.extend(captured(node))
            nodes.append(node)
    plain = PlainGraph(
        nodes=nodes,
        constants=constants,
        inputs=[value.name for value in graph.input if value.name not in constants],
        outputs=[value.name for value in graph.output],
        opsets={"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import},
    )
    _resolve_identities(plain)
    _separate_statistics(plain)
    _forget_unread(plain, names_read(graph).union(plain.outputs))
    return plain


def _forget_unread(plain: PlainGraph, read: Set[str]) -> None:
    """Case 5."""
    for node in plain.nodes:
        for i, name in enumerate(node.output):
            if i and name not in read:
                node.output[i] = ""


def _resolve_identities(plain: PlainGraph) -> None:
    """Case 3."""
    renamed: dict[str, str] = {}
    for node in list(plain.nodes):
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type != "Identity" or node.domain not in ("", "ai.onnx"):
            continue
        source, target = node.input[0], node.output[0]
        if source not in plain.constants:
            continue
        tensor = plain.constants[source]
        if len(tensor.dims) <= 1 or _is_uniform(tensor):
            plain.constants[target] = tensor
            plain.copies[target] = plain.copies.get(source, source)
        elif target in plain.outputs:
            continue
        else:
            renamed[target] = source
        plain.nodes.remove(node)


def _is_uniform(tensor: onnx.TensorProto) -> bool:
    values = numpy_helper.to_array(tensor)
    return values.size > 0 and bool((values == values.flat[0]).all())


def _separate_statistics(plain: PlainGraph) -> None:
    """Case 4: the first batch norm keeps the name, unless it is something else too."""
    owners: dict[str, tuple[str, ...]] = {}
    elsewhere = set(plain.outputs)
    norms = [n for n in plain.nodes if n.op_type == "BatchNormalization" and len(n.input) == 5]
    for node in plain.nodes:
        elsewhere.update(node.input[:3] if node in norms else node.input)
    for node in norms:
        key = tuple(node.input[1:])
        for i in (3, 4):
            name = node.input[i]
            if name not in plain.constants:
                continue
            # A layer that is applied twice names the same four tensors: they stay one.
            if name not in elsewhere and owners.setdefault(name, key) == key:
                continue
            fresh = f"{name}.{'var' if i == 4 else 'mean'}_of.{node.output[0]}"
            plain.constants[fresh] = plain.constants[name]
            plain.copies[fresh] = plain.copies.get(name, name)
            node.input[i] = fresh


def separate(model: onnx.ModelProto, names: Collection[str], plain: PlainGraph) -> None:
    """Give separated constants a tensor of their own in the model, in place.

    Args:
        model: a copy of the model that ``plain`` was read from, functions inlined.
        names: the constants, all among ``plain.copies``.
        plain: the graph as it was read.
    """
    graph = model.graph
    for name in names:
        tensor = graph.initializer.add()
        tensor.CopyFrom(plain.constants[name])
        tensor.name = name
    for node in [n for n in graph.node if n.op_type == "Identity" and n.output[0] in names]:
        graph.node.remove(node)
    inputs = {node.output[0]: node.input for node in plain.nodes if node.output}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            for i, name in enumerate(inputs.get(node.output[0], node.input)):
                if name in names:
                    node.input[i] = name
