"""The cost of a plan from the number of kept channels alone, without touching the graph.

MACs of a node and elements of a parameter are products of axis sizes. The size of an axis after a
cut is the number of its indices whose components stay.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from spa.coupling.couple import Coupling
from spa.coupling.labels import Labels, Layer, support
from spa.graph.cost import Cost, node_costs
from spa.graph.deferred import dtype_of
from spa.graph.nodes import Use

Mask = npt.NDArray[np.bool_]


class CostModel:
    """Evaluates the cost of removing components.

    Args:
        coupling: the model's coupling.
    """

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        self._slots: dict[bytes, int] = {}
        self._axes: list[list[Labels]] = []
        self._fixed: list[int] = []
        model = coupling.model
        costs = node_costs(model)
        #: Of every product that `node_sizes` tells the sizes of, the number of its node.
        self.nodes = [cost.node for cost in costs]
        self._factors = np.array([cost.factor for cost in costs])
        self._node_axes = _padded(
            [
                [
                    self._slot(self._layers_at(cost.node, name), name, axis)
                    for name, axis in cost.axes
                ]
                for cost in costs
            ]
        )
        self._parameter_axes = _padded(
            [
                [self._slot(layers, name, axis) for axis in range(len(model.shapes[name]))]
                for name in model.counted_parameters
                for layers in self._layers_of_parameter(name)
            ]
        )
        # A weight that several read each in its own way lies in the file once for each.
        self._widths = np.array(
            [
                _bytes_of(model.parameters[name])
                for name in model.counted_parameters
                for _ in self._layers_of_parameter(name)
            ],
            dtype=float,
        )

    def cost(self, removed: Mask) -> Cost:
        """Cost after removing components; ``removed`` has shape (components,)."""
        sizes = self._sizes(removed)
        macs = (
            (self._factors * sizes[self._node_axes].prod(axis=1)).sum()
            if len(self._factors)
            else 0.0
        )
        elements = sizes[self._parameter_axes].prod(axis=1)
        # A vector of which one element is left no longer counts (see `spa.graph.cost`).
        params = elements[elements > 1].sum() + self._coupling.model.inner_params
        return Cost(params=round(float(params)), macs=round(float(macs)))

    def weight_bytes(self, removed: Mask) -> float:
        """Bytes of the weights that `cost` counts, as they are stored, without inner graphs'."""
        elements = self._sizes(removed)[self._parameter_axes].prod(axis=1)
        return float((elements * self._widths).sum())

    def node_sizes(self, removed: Mask) -> npt.NDArray[np.float64]:
        """Sizes of the axes that each contracting node multiplies, after removing components.

        Returns:
            Shape (products, axes); rows of fewer axes end with ones. A product is of `nodes`.
        """
        found: npt.NDArray[np.float64] = self._sizes(removed)[self._node_axes]
        return found

    def _sizes(self, removed: Mask) -> npt.NDArray[np.float64]:
        """The size of every slot, and a 1 that padding points at."""
        sizes = np.empty(len(self._axes) + 1)
        sizes[-1] = 1.0
        for slot, (vectors, fixed) in enumerate(zip(self._axes, self._fixed, strict=True)):
            if not vectors:
                sizes[slot] = fixed
            elif len(vectors) == 1:
                sizes[slot] = fixed - removed[vectors[0]].sum()
            else:
                sizes[slot] = fixed - np.any([removed[v] for v in vectors], axis=0).sum()
        return sizes

    def _layers_at(self, index: int, name: str) -> list[Layer]:
        """Layers of a tensor as one node reads or makes it."""
        node = self._coupling.model.graph.nodes[index]
        if name in node.inputs:
            return self._coupling.layers_read(Use(index, node.inputs.index(name)))
        return self._coupling.layers.get(name, [])

    def _layers_of_parameter(self, name: str) -> list[list[Layer]]:
        """Layers of a parameter; one entry per read where each has labels of its own."""
        reads = self._coupling.model.private_reads.get(name)
        if reads is None:
            return [self._coupling.layers.get(name, [])]
        counted = [use for use in reads if use not in self._coupling.model.statistic_reads]
        return [self._coupling.layers_read(use) for use in counted]

    def _slot(self, layers: list[Layer], name: str, axis: int) -> int:
        """A number for an axis; axes that hold the same components share it."""
        size = self._coupling.model.shapes[name][axis]
        vectors = [vector for layer in layers if (vector := self._vector(layer, axis)) is not None]
        key = repr(size).encode() + b"|".join(v.tobytes() for v in vectors)
        if key not in self._slots:
            self._slots[key] = len(self._axes)
            self._axes.append(vectors)
            self._fixed.append(size)
        return self._slots[key]

    def _vector(self, layer: Layer, axis: int) -> Labels | None:
        """Components along an axis; None where the layer cannot shrink it."""
        if axis not in support(layer):
            return None
        components = np.moveaxis(self._coupling.components.of[layer], axis, 0)
        table = components.reshape(components.shape[0], -1)
        if not (table == table[:, :1]).all():
            return None  # the layer shrinks along another of its axes
        return table[:, 0]


def _bytes_of(tensor: onnx.TensorProto | None) -> float:
    """Bytes of an element as it is stored; a weight that is made by filling is float."""
    if tensor is None:
        return 4.0
    halves = (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1)
    return 0.5 if tensor.data_type in halves else float(dtype_of(tensor).itemsize)


def _padded(rows: list[list[int]]) -> npt.NDArray[np.int64]:
    width = max((len(row) for row in rows), default=0)
    return np.array([row + [-1] * (width - len(row)) for row in rows], dtype=np.int64).reshape(
        len(rows), width
    )
