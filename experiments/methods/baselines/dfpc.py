"""DFPC: data-free pruning of coupled channels, by how much of the signal passes through each.

Ours, after the paper (Narshana et al. 2023, ICLR) and its authors' code for ResNets. Of a coupled
set of channels ("data flow coupling"), A are the layers that make it and B those that read it. With
M the matrix of a layer on the real picture, |.| entry by entry, and D the batch norm between,

    score(k) = sum over B, and over the A before it, of all entries of  |M_B|[:, k] (D |M_A|)[k, :]
    D = |scale / sqrt(variance + epsilon)|

That product is a row of |M_B|'s column sums times |M_A|'s row sums, so no matrix is made: a map of
row sums (every layer is fed ones) flows through the network to whoever reads it, and a shortcut
adds the maps of all layers before. All scores are taken once, from the dense weights, and compared
as they are; nothing is refitted and batch norms stay. The authors remove one channel after another
by them and look at the test set after every hundredth of all; as nothing is scored anew, that is
the same ranking, cut here where the target is reached.

What neither says, and is guessed here:

- max pooling counts as average pooling (the code has that, and no network of its that uses it);
- activations pass all, gates multiply, differences add, and a depthwise convolution is part of the
  way between (the code's list for MobileNetV2 was not followed);
- layers that multiply no channels of a set (a head that is kept) score nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.methods import Job, Need, NoSettings, Outcome, method
from spa.errors import SettingError
from spa.graph.execute import session
from spa.importance.values import Channels
from spa.importance.view import View
from spa.observe.layers import LinearLayer, find_layers, label_vectors
from spa.observe.stream import is_batch_norm

if TYPE_CHECKING:
    import onnx

    import spa
    from spa.graph.nodes import Node

Array = npt.NDArray[np.float64]
# Adds an initializer, once for a name, which it returns.
Constant = Callable[[str, npt.NDArray[Any]], str]

# Through these a signal passes as it is.
PASSES = frozenset({
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid",
    "HardSwish", "Mish", "Tanh", "Erf", "Softplus", "Clip", "Dropout", "Softmax", "Exp", "Abs",
    "LayerNormalization", "InstanceNormalization", "GroupNormalization",
})  # fmt: skip
ONES, SIZE = "dfpc/ones of ", "dfpc/size of "


@method(
    needs=Need.TRAINED | Need.LIMITS,
    source="ours, after the paper: Narshana et al. 2023, DFPC",
    targets=None,
)
def dfpc(job: Job, how: NoSettings) -> Outcome:
    """Prune by one ranking of all channels."""
    import spa

    made = spa.prune(
        spa.load(job.dense, job.given or None),
        criterion=saliency,
        normalize="none",
        target=job.target,
        machine=job.machine,
        limits=job.limits,
        seed=job.seed,
    )
    return Outcome(made.model, made.plan, made.proof, seconds=made.seconds)


def saliency(view: View) -> Channels:
    """Scores every coupled set by what passes through it; NaN for one that no layer reads."""
    model, coupling = view.model, view.groups.coupling
    layers = list(find_layers(coupling).values())
    maps = row_sums(model, layers)
    found = np.full(coupling.components.kept.size, np.nan)
    for layer in layers:
        along = passes_by(model, layer, maps[layer.node.inputs[layer.data]])
        for labels in label_vectors(coupling, layer):
            components = coupling.components.of[labels]
            here = np.zeros_like(found)
            np.add.at(here, components, along)
            touched = np.unique(components)
            found[touched] = np.nan_to_num(found[touched]) + here[touched]
    return Channels(found)


def passes_by(model: spa.Model, layer: LinearLayer, rows: Array) -> Array:
    """What passes from a layer's input on, by index of its weight's contracted axis.

    Args:
        model: the network.
        layer: who reads, of B.
        rows: |M_A|'s row sums at its input, in the input's shape.
    """
    weight = np.abs(value_of(model, layer)).astype(np.float64)
    if not layer.kernel:  # (..., D): every position is multiplied alike
        columns = weight.sum(axis=1 - layer.axis)
        axis = _contracted_axis(layer, rows.ndim)
        rows = rows[:1] if axis else rows  # one sample's, as for convolutions
        others = tuple(k for k in range(rows.ndim) if k != axis)
        return np.asarray(rows.sum(axis=others) * columns)
    total = (rows[:1] * _column_sums(layer, weight, rows.shape)).sum(axis=0)  # (I, ...)
    by_channel = total.reshape(len(total), -1).sum(axis=1)
    if layer.node.op == "Conv":  # the weight has a group's input channels, one like the other
        by_channel = by_channel.reshape(layer.groups, -1).sum(axis=0)
    return np.asarray(by_channel)


def value_of(model: spa.Model, layer: LinearLayer) -> npt.NDArray[np.generic]:
    """A layer's weight as its node reads it.

    Raises:
        SettingError: it is computed from other tensors.
    """
    if layer.parameter is None:
        raise SettingError(
            f'method=dfpc needs weights that stand in the file, but those of "{layer.node.name}" '
            "are computed; use another method"
        )
    value = model.array(layer.parameter)
    return value.T if layer.transposed else value


def _contracted_axis(layer: LinearLayer, rank: int) -> int:
    if layer.node.op == "Gemm":
        flipped = layer.node.attr("transB" if layer.data else "transA", 0)
        return 1 - layer.data if not flipped else layer.data
    return rank - 1 if layer.data == 0 else rank - 2


def _column_sums(layer: LinearLayer, weight: Array, shape: tuple[int, ...]) -> Array:
    """Of |M_B|: the derivative of all its outputs together, (1, I, ...)."""
    import torch
    from onnx import TensorProto, helper

    from spa.bridge import to_torch

    node = helper.make_node(layer.node.op, ["x", "w"], ["y"], **dict(layer.node.attrs))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, *shape[1:]))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    w = helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.astype(np.float32).ravel())
    graph = helper.make_graph([node], "one layer", [x], [y], [w])
    net = to_torch(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    given = torch.ones(1, *shape[1:], requires_grad=True)
    net(given).sum().backward()
    assert given.grad is not None
    return given.grad.double().numpy()


def row_sums(model: spa.Model, layers: list[LinearLayer]) -> dict[str, Array]:
    """At every layer's input, the row sums of the |M_A| before it, with batch norms, in its shape.

    Args:
        model: the network.
        layers: its layers.
    """
    wanted = list(dict.fromkeys(layer.node.inputs[layer.data] for layer in layers))
    run = session(
        absolute(model, layers),
        also=[name for name in wanted if name not in (*model.graph.inputs, *model.graph.outputs)],
    )
    example = {value.name: np.asarray(model.example[value.name]) for value in run.get_inputs()}
    names = [name for name in wanted if name not in example]
    found = dict(zip(names, run.run(names, example), strict=True))
    # What comes from outside is no channel's: no layer has made it.
    outside = {name: np.zeros_like(example[name]) for name in wanted if name in example}
    return {name: np.asarray(value, dtype=np.float64) for name, value in (found | outside).items()}


def absolute(model: spa.Model, layers: list[LinearLayer]) -> onnx.ModelProto:
    """The network in which every layer is fed ones and all weights are positive, without biases."""
    import onnx
    from onnx import numpy_helper

    out = onnx.ModelProto()
    out.CopyFrom(model.proto)
    by_node = {layer.node.index: layer for layer in layers}
    graph = out.graph
    added: dict[str, onnx.TensorProto] = {}

    def constant(name: str, value: npt.NDArray[Any]) -> str:
        if name not in added:
            added[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    for proto, node in zip(graph.node, model.graph.nodes, strict=True):
        layer = by_node.get(node.index)
        if layer is not None:
            _feed_ones(proto, layer, model, constant)
        elif node.op in ("Conv", "ConvTranspose"):  # depthwise: part of the way
            weight = np.abs(model.array(model.root(node.inputs[1])))
            proto.input[1] = constant(f"{SIZE}{node.inputs[1]}", weight)
            del proto.input[2:]
        elif is_batch_norm(node):
            _only_scale(proto, node, model, constant)
        elif node.op == "MaxPool":
            _as_average(proto)
        elif node.op in PASSES:
            proto.op_type = "Identity"
            del proto.attribute[:], proto.input[1:], proto.output[1:]
        elif node.op in ("Add", "Sub", "Mul", "Div"):
            _positive(proto, node, model, constant)
    graph.initializer.extend(added.values())
    return out


def _feed_ones(
    proto: onnx.NodeProto, layer: LinearLayer, model: spa.Model, constant: Constant
) -> None:
    data = layer.node.inputs[layer.data]
    weight = value_of(model, layer)
    ones = np.ones(model.shapes[data], dtype=weight.dtype)
    proto.input[layer.data] = constant(f"{ONES}{data}", ones)
    proto.input[layer.weight] = constant(f"{SIZE}{layer.weight_name}", np.abs(weight))
    del proto.input[2:]


def _only_scale(proto: onnx.NodeProto, node: Node, model: spa.Model, constant: Constant) -> None:
    scale, _, _, variance = (model.array(model.root(name)) for name in node.inputs[1:5])
    factor = np.abs(scale / np.sqrt(variance + node.attr("epsilon", 1e-5)))
    rank = len(model.shapes[node.inputs[0]])
    proto.op_type = "Mul"
    del proto.attribute[:], proto.input[1:], proto.output[1:]
    shaped = factor.astype(scale.dtype).reshape(-1, *[1] * (rank - 2))
    proto.input.append(constant(f"{SIZE}{node.outputs[0]}", shaped))


def _as_average(proto: onnx.NodeProto) -> None:
    from onnx import helper

    kept = [a for a in proto.attribute if a.name in ("kernel_shape", "strides", "pads", "auto_pad",
                                                     "ceil_mode")]  # fmt: skip
    del proto.attribute[:], proto.output[1:]
    proto.op_type = "AveragePool"
    proto.attribute.extend(kept)
    proto.attribute.append(helper.make_attribute("count_include_pad", 1))


def _positive(proto: onnx.NodeProto, node: Node, model: spa.Model, constant: Constant) -> None:
    """Sums of activations, and their products with anything; what is constant is no signal."""
    still = [name in model.constants for name in node.inputs]
    if all(still):
        return
    if node.op in ("Add", "Sub"):
        proto.op_type = "Add"
        for i in (i for i in (0, 1) if still[i]):
            zeros = np.zeros(model.shapes[node.inputs[i]], dtype=np.float32)
            proto.input[i] = constant(f"{SIZE}{node.inputs[i]} in {node.index}", zeros)
        return
    for i in (i for i in (0, 1) if still[i] and model.root(node.inputs[i]) in model.parameters):
        size = np.abs(model.array(model.root(node.inputs[i])))
        proto.input[i] = constant(f"{SIZE}{node.inputs[i]} in {node.index}", size)
