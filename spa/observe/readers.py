"""Weighted sums of activations: who reads channels, and how much of each goes on.

1. Conv and DeformConv, W (O, I/g, k...), and ConvTranspose, W (I, O/g, k...), read axis 1.
2. Gemm and MatMul with a weight of two axes, on either side, read the contracted axis; so does
   Attention with its packed weight.

A depthwise convolution mixes no channels, so it is none of these. Nothing here needs torch;
`spa.observe.layers` tells the same layers as least squares sees them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.graph.model import Array, Model
from spa.graph.nodes import Node

_CONVOLUTIONS = ("Conv", "DeformConv", "ConvTranspose")
# Where a weight may stand; the activation is the other of the first two inputs.
_SIDES = {
    **dict.fromkeys((*_CONVOLUTIONS, "com.microsoft::Attention"), (1,)),
    **dict.fromkeys(("Gemm", "MatMul"), (1, 0)),
}


@dataclass(frozen=True)
class Reader:
    """A node that sums an activation's channels with weights.

    Attributes:
        node: the node.
        tensor: the activation.
        axis: its channels.
        weight: the parameter.
        contracted: the weight's axis that is summed over, as the file holds it.
    """

    node: Node
    tensor: str
    axis: int
    weight: str
    contracted: int

    def energy(self, weight: Array) -> npt.NDArray[np.float64]:
        """Squares of a weight, summed over all that reads a channel; shape (channels,)."""
        squares = np.square(weight.astype(np.float64))
        groups = int(self.node.attr("group", 1))
        if (
            self.node.op != "ConvTranspose" and groups > 1
        ):  # each group of rows reads channels of its own
            squares = squares.reshape(groups, -1, *squares.shape[1:]).swapaxes(1, 2)
            return np.asarray(squares.reshape(groups * squares.shape[1], -1).sum(axis=1))
        columns = np.moveaxis(squares, self.contracted, 0)
        return np.asarray(columns.reshape(len(columns), -1).sum(axis=1))


def find_readers(model: Model) -> list[Reader]:
    """All readers of activations in a model, in order of nodes."""
    found = (_reader(model, node) for node in model.graph.nodes)
    return [reader for reader in found if reader is not None]


def _reader(model: Model, node: Node) -> Reader | None:
    at = next((i for i in _SIDES.get(node.op, ()) if _is_weight(model, node, i)), None)
    if at is None:
        return None
    name, turned = _origin(model, node.inputs[at])
    is_conv = node.op in _CONVOLUTIONS
    if name is None or (not is_conv and len(model.shapes[name]) != 2):
        return None
    tensor, shape = node.inputs[1 - at], model.shapes[name]
    if is_conv:
        transposed = node.op == "ConvTranspose"
        groups = int(node.attr("group", 1))
        if groups > 1 and (shape[0] // groups if transposed else shape[1]) == 1:
            return None
        return Reader(node, tensor, 1, name, 0 if transposed else 1)
    data_rank = len(model.shapes[tensor])
    if at == 1:
        axis = 0 if node.attr("transA", 0) else data_rank - 1
        contracted = 1 if node.attr("transB", 0) else 0
    else:
        axis = 1 if node.attr("transB", 0) else max(0, data_rank - 2)
        contracted = 0 if node.attr("transA", 0) else 1
    return Reader(node, tensor, axis, name, 1 - contracted if turned else contracted)


def _is_weight(model: Model, node: Node, i: int) -> bool:
    return node.inputs[i] in model.constants and node.inputs[1 - i] not in model.constants


def _origin(model: Model, name: str) -> tuple[str | None, bool]:
    """The parameter behind Identity and Transpose of two axes, and whether it is turned."""
    turned = False
    while model.stored(name) not in model.parameters:
        producer = model.graph.producers[name]
        if producer.op == "Transpose" and len(model.shapes[name]) == 2:
            turned ^= list(producer.attr("perm", [1, 0])) == [1, 0]
        elif producer.op != "Identity":
            return None, False
        name = producer.inputs[0]
    return model.stored(name), turned
