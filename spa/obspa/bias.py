"""Where a refit's intercept goes: what is added to every entry of a layer's output.

1. The bias of the node itself (Conv, ConvTranspose, Gemm).
2. The parameter of an Add that alone reads the output (MatMul).
3. The mean of a batch norm that alone reads the output, which takes it with the other sign. Where
   that statistic is estimated anew, this does it.

A layer with none of these, or whose bias others read too, is refitted without an intercept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.observe.gram import Matrix
from spa.observe.layers import LinearLayer
from spa.observe.stream import is_batch_norm


@dataclass(frozen=True)
class Bias:
    """A parameter that takes an intercept.

    Attributes:
        parameter: its name in the file.
        read: the tensor that the node reads.
        scale: what a unit of the intercept adds to it.
        is_mean: whether it is a batch norm's.
    """

    parameter: str
    read: str
    scale: float
    is_mean: bool = False

    def shifted(self, value: Array, shift: Matrix) -> Array:
        """The parameter with the intercept in it."""
        moved = value.astype(np.float64) + self.scale * shift.reshape(value.shape)
        return moved.astype(value.dtype)


def find_bias(model: Model, layer: LinearLayer, reads: Mapping[str, int]) -> Bias | None:
    """What takes a layer's intercept; None where nothing does.

    Args:
        model: the model.
        layer: the layer.
        reads: how many nodes read a parameter.
    """
    node = layer.node
    weight = model.shapes[layer.weight_name]
    outputs = _outputs(layer, weight)
    if node.op != "MatMul" and node.has_input(2):
        beta = float(node.attr("beta", 1.0)) if node.op == "Gemm" else 1.0
        along = 0 if node.op == "Gemm" and layer.weight == 0 else -1
        if beta and _fits(model, node.inputs[2], outputs, along, reads):
            return Bias(model.root(node.inputs[2]), node.inputs[2], 1 / beta)
        return None
    reader = _only_reader(model, node.outputs[0])
    if reader is None:
        return None
    if reader.op == "Add" and node.op == "MatMul":
        other = reader.inputs[1 - reader.inputs.index(node.outputs[0])]
        if _fits(model, other, outputs, -2 if layer.weight == 0 else -1, reads):
            return Bias(model.root(other), other, 1.0)
    if is_batch_norm(reader) and reader.inputs[0] == node.outputs[0]:
        mean = reader.inputs[3]
        if _fits(model, mean, outputs, -1, reads):
            return Bias(model.root(mean), mean, -1.0, is_mean=True)
    return None


def _outputs(layer: LinearLayer, weight: tuple[int, ...]) -> int:
    if layer.node.op == "ConvTranspose":
        return weight[1] * layer.groups
    return weight[1 - layer.axis]


def _fits(model: Model, name: str, outputs: int, along: int, reads: Mapping[str, int]) -> bool:
    """Whether a tensor is a floating parameter of one node's, with one entry for each output."""
    root = model.root(name)
    if root not in model.parameters or reads.get(root, 0) != 1 or model.dtype(root).kind != "f":
        return False
    shape = model.shapes[root]
    if len(shape) < -along or int(np.prod(shape)) != outputs:
        return False
    return shape[along] == outputs


def _only_reader(model: Model, name: str) -> Node | None:
    uses = model.graph.uses.get(name, ())
    if len(uses) != 1 or name in model.graph.outputs or name in model.graph.captured:
        return None
    return model.graph.nodes[uses[0].node]
