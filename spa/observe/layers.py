"""Linear layers as least squares sees them: rows of inputs times a matrix.

Every layer is g independent products of a matrix (O, D) with input rows (m, D), one row per
position (a sample and a place in its output):

1. Conv, W (O, I/g, k...): D = I/g x k..., a row is the patch under the kernel. Groups share the
   weight's contracted axis.
2. ConvTranspose, W (I, O/g, k...): the same on the input with stride - 1 zeros between its entries
   and the kernel mirrored.
3. Gemm and MatMul with a weight of two axes, on either side: D is the contracted axis.

A depthwise convolution mixes no channels, so it is none of these. A weight may stand behind
Identity, or behind a Transpose of its two axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from spa.coupling.couple import Coupling
from spa.coupling.groups import Groups
from spa.coupling.labels import Labels, support
from spa.graph.model import Array, Model
from spa.graph.nodes import Node, Use


@dataclass(frozen=True)
class LinearLayer:
    """A node that multiplies an activation with a weight.

    Attributes:
        node: the node.
        data: position of the activation among its inputs.
        weight: position of the weight.
        axis: contracted axis of the weight, as the node reads it.
        groups: g.
        kernel: spatial sizes of the weight; empty for Gemm and MatMul.
        parameter: the weight's name in the file; None where it is computed from other tensors.
        transposed: whether the node reads the parameter through a Transpose.
    """

    node: Node
    data: int
    weight: int
    axis: int
    groups: int
    kernel: tuple[int, ...]
    parameter: str | None
    transposed: bool

    @property
    def use(self) -> Use:
        """The read of the weight."""
        return Use(self.node.index, self.weight)

    @property
    def is_plain(self) -> bool:
        """Whether it maps the last axis of activations, position by position."""
        return not self.kernel and self.weight == 1

    @property
    def weight_name(self) -> str:
        """The weight's tensor, as the node reads it."""
        return self.node.inputs[self.weight]

    def blocks(self, weight: Array) -> Array:
        """The weight as matrices, shape (g, O, D)."""
        matrix = np.moveaxis(weight, self.axis, 1)
        if self.node.op == "ConvTranspose":  # (O/g, I, k...)
            return matrix.reshape(matrix.shape[0], self.groups, -1).swapaxes(0, 1)
        return matrix.reshape(self.groups, -1, prod(matrix.shape[1:]))

    def weight_of(self, blocks: Array, shape: Sequence[int]) -> Array:
        """The way back from `blocks`, to a weight of the given shape."""
        moved = list(shape)
        moved.insert(1, moved.pop(self.axis))
        if self.node.op == "ConvTranspose":
            blocks = blocks.swapaxes(0, 1)
        return np.ascontiguousarray(np.moveaxis(blocks.reshape(moved), 1, self.axis))

    def columns(self, along_axis: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Values along the contracted axis, for every column; shape (g, D)."""
        columns = np.repeat(along_axis, prod(self.kernel))
        if self.node.op == "ConvTranspose":
            return columns.reshape(self.groups, -1)
        return np.broadcast_to(columns, (self.groups, columns.size))


def find_layers(coupling: Coupling) -> dict[str, LinearLayer]:
    """All linear layers of a model, by the name of their output."""
    found = {}
    for node in coupling.model.graph.nodes:
        layer = _layer(coupling.model, node)
        if layer is not None:
            found[node.outputs[0]] = layer
    return found


def label_vectors(coupling: Coupling, layer: LinearLayer) -> list[Labels]:
    """Labels along the contracted axis of a layer's weight; one vector per source axis."""
    return [
        labels.reshape(-1)
        for labels in coupling.layers_read(layer.use)
        if support(labels) == (layer.axis,)
    ]


def _layer(model: Model, node: Node) -> LinearLayer | None:
    if node.op in ("Conv", "ConvTranspose"):
        shape = model.shapes.get(node.inputs[1], ())
        groups = int(node.attr("group", 1))
        contracted = shape[1] if node.op == "Conv" else shape[0] // groups
        if not _reads_weight(model, node, 1) or (groups > 1 and contracted == 1):
            return None
        found = LinearLayer(node, 0, 1, int(node.op == "Conv"), groups, shape[2:], None, False)
    elif node.op in ("Gemm", "MatMul"):
        weight = next((i for i in (1, 0) if _reads_weight(model, node, i)), None)
        if weight is None or len(model.shapes[node.inputs[weight]]) != 2:
            return None
        flipped = bool(node.attr("transB" if weight else "transA", 0))
        axis = int(flipped) if weight else 1 - int(flipped)
        found = LinearLayer(node, 1 - weight, weight, axis, 1, (), None, False)
    else:
        return None
    parameter, transposed = _origin(model, found.weight_name)
    return replace(found, parameter=parameter, transposed=transposed)


def _reads_weight(model: Model, node: Node, i: int) -> bool:
    return node.inputs[i] in model.constants and node.inputs[1 - i] not in model.constants


def _origin(model: Model, name: str) -> tuple[str | None, bool]:
    """The parameter behind Identity and Transpose of two axes, and whether it is transposed."""
    transposed = False
    while model.root(name) not in model.parameters:
        producer = model.graph.producers[name]
        if producer.op == "Transpose" and len(model.shapes[name]) == 2:
            transposed ^= list(producer.attr("perm", [1, 0])) == [1, 0]
        elif producer.op != "Identity":
            return None, False
        name = producer.inputs[0]
    return model.root(name), transposed


def readable(groups: Groups, layers: Mapping[str, LinearLayer]) -> frozenset[int]:
    """Ids of the groups of which every channel is read by a layer, and can be refitted there."""
    coupling = groups.coupling
    of = coupling.components.of
    read = np.zeros(coupling.components.kept.size, dtype=bool)
    for layer in layers.values():
        for labels in label_vectors(coupling, layer):
            read[of[labels]] = True
    return frozenset(group.id for group in groups.groups if read[group.components].all())
