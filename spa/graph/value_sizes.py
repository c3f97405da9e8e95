"""Which sizes depend on what the inputs hold, and not on their sizes alone.

NonZero makes as many entries as there are, NonMaxSuppression as many boxes as are left. One run
shows one such size; the next picture has another. So they, and all numbers that are computed from
them, must never be taken for fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from spa.graph.nodes import Graph, Node
from spa.graph.weightless import list_as_inputs, without_weights

_WINDOWS = ("BlackmanWindow", "HammingWindow", "HannWindow")
_FOLDS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
# By operator, the inputs whose values decide its output's shape.
_DECIDING: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,), "CenterCropPad": (1,), "Col2Im": (1, 2), "Compress": (1,),
    "ConstantOfShape": (0,), "DFT": (1, 2), "Expand": (1,), "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1), "NonMaxSuppression": (0, 1, 2, 3, 4), "NonZero": (0,),
    "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2), "Reshape": (1,), "Resize": (2, 3),
    "STFT": (1, 3), "Slice": (1, 2, 3, 4), "Split": (1,), "SplitToSequence": (1,), "Squeeze": (1,),
    "Tile": (1,), "TopK": (1,), "Unique": (0,), "Unsqueeze": (1,), "Upsample": (1,),
    **dict.fromkeys(_WINDOWS, (0,)), **dict.fromkeys(_FOLDS, (1,)),
}  # fmt: skip


Array = npt.NDArray[Any]
Known = Callable[[str], Array | None]


@dataclass(frozen=True)
class ValueSizes:
    """What depends on the inputs' values.

    Attributes:
        values: tensors whose entries do.
        axes: by tensor, the axes whose sizes do.
    """

    values: frozenset[str]
    axes: Mapping[str, frozenset[int]]


def value_sizes(
    proto: onnx.ModelProto, graph: Graph, ranks: Mapping[str, int], known: Known
) -> ValueSizes:
    """Follows the inputs' values through a model.

    Args:
        proto: the model.
        graph: its graph.
        ranks: the number of axes of each tensor.
        known: gives the value of a small tensor that the file holds.
    """
    return _Walk(proto, graph, ranks, known).result()


class _Walk:
    def __init__(
        self,
        proto: onnx.ModelProto,
        graph: Graph,
        ranks: Mapping[str, int],
        known: Known,
    ) -> None:
        self._proto = proto
        self._ranks = ranks
        self._known = known
        self._values = set(graph.inputs)
        self._axes: dict[str, frozenset[int]] = {}
        # Outputs of Shape: which of their entries depend on values.
        self._entries: dict[str, Array] = {}
        self._declared: dict[str, tuple[bool, ...]] | None = None
        for node in graph.nodes:
            if node.inputs or node.captured:  # constants depend on nothing
                self._visit(node)

    def result(self) -> ValueSizes:
        """What was found."""
        return ValueSizes(frozenset(self._values), self._axes)

    def _visit(self, node: Node) -> None:
        if node.op in ("Shape", "Size"):
            sized = self._axes.get(node.inputs[0], frozenset())
            entries = np.array([k in sized for k in range(self._ranks.get(node.inputs[0], 0))])
            if node.op == "Shape":
                entries = entries[slice(node.attr("start"), node.attr("end"))]
                self._entries[node.outputs[0]] = entries
            if entries.any():
                self._values.update(node.outputs)
            return
        read = (*node.inputs, *node.captured)
        if self._picks_fixed_entries(node):
            return
        if not self._values.isdisjoint(read):
            self._values.update(name for name in node.outputs if name)
        if self._is_sized(node, read):
            for name in node.outputs:
                axes = self._open_axes(name)
                if axes:
                    self._axes[name] = axes

    def _picks_fixed_entries(self, node: Node) -> bool:
        """A part of a shape that no value decides."""
        if node.op not in ("Gather", "Slice") or node.inputs[0] not in self._entries:
            return False
        entries = self._entries[node.inputs[0]]
        numbers = [value for name in node.inputs[1:] if (value := self._known(name)) is not None]
        if len(numbers) < len(node.inputs) - 1:
            return False
        if node.op == "Gather":
            return not np.any(entries[numbers[0]])
        if not numbers:  # before opset 10, bounds are attributes
            numbers = [np.array(node.attr(name)) for name in ("starts", "ends")]
        start, end, *more = (int(value.reshape(-1)[0]) for value in numbers)
        return not np.any(entries[start : end : more[1] if len(more) > 1 else 1])

    def _is_sized(self, node: Node, read: Iterable[str]) -> bool:
        if not self._axes.keys().isdisjoint(read):
            return True
        if node.captured or node.op in ("If", "Loop", "Scan"):
            return not self._values.isdisjoint(read)
        deciding = _DECIDING.get(node.op)
        return deciding is not None and any(
            node.has_input(i) and node.inputs[i] in self._values for i in deciding
        )

    def _open_axes(self, name: str) -> frozenset[int]:
        """Axes of a tensor that shape inference finds no number for."""
        if self._declared is None:
            self._declared = _declared(self._proto)
        rank = self._ranks.get(name, 0)
        fixed = self._declared.get(name, ())
        return frozenset(k for k in range(rank) if not (k < len(fixed) and fixed[k]))


def _declared(proto: onnx.ModelProto) -> dict[str, tuple[bool, ...]]:
    """By tensor, which axes have a number, for any values that the inputs may hold."""
    light, weights = without_weights(proto)
    del light.graph.value_info[:]  # the file's own may be what one run showed
    list_as_inputs(light.graph, weights)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError):
        return {}
    return {
        value.name: tuple(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
        for value in inferred.graph.value_info
    }
