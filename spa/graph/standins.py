"""Zeros in place of weights that are not held: shapes follow without reading a single one.

They take no memory, as nobody writes to them. What the weights would have changed besides numbers
is found out afterwards, and then the run does not count (`show_through`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from spa.graph.deferred import dtype_of, size_of
from spa.graph.nodes import reads

# Operators whose output's shape may follow from the numbers that they read, and that give no
# integers for it; a graph in an attribute counts as one.
SHAPED_BY_NUMBERS = ("Range", "Resize", "Upsample", "Unique")


def stand_ins(tensors: Sequence[onnx.TensorProto]) -> dict[str, ort.OrtValue]:
    """Zeros of the shapes and types of some tensors, all in one place."""
    place = np.zeros(max(map(size_of, tensors), default=0), np.uint8)
    return {
        tensor.name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            place[: size_of(tensor)].view(dtype_of(tensor)).reshape(tuple(tensor.dims)),
            tensor.data_type,
        )
        for tensor in tensors
    }


def show_through(
    graph: onnx.GraphProto,
    replaced: Collection[str],
    dtypes: Mapping[str, np.dtype[Any]],
    values: Mapping[str, npt.NDArray[Any]],
) -> bool:
    """Whether a run with zeros in some weights' place may have shown what is not so.

    1. A shape, an index or a condition may be computed from the weights: an integer or a truth
       value is, or an operator that takes a size from numbers, or from its graph, reads them.
    2. A small value that depends on no input is computed from them, and would be taken for known.

    Args:
        graph: the model's graph.
        replaced: names of the weights.
        dtypes: element types, as the run showed them.
        values: small values that the run showed.
    """
    weights = {tensor.name for tensor in graph.initializer}
    driven = {value.name for value in graph.input if value.name not in weights}
    touched = set(replaced)
    for node in graph.node:
        if node.op_type in ("Shape", "Size"):
            continue
        read = set(reads([node]))
        if driven & read:
            driven.update(node.output)
        if not touched & read:
            continue
        if node.op_type in SHAPED_BY_NUMBERS or any(
            attribute.HasField("g") or attribute.graphs for attribute in node.attribute
        ):
            return True  # 1
        for name in filter(None, node.output):
            if name not in dtypes or dtypes[name].kind != "f":
                return True  # 1
            if name in values and name not in driven:
                return True  # 2
            touched.add(name)
    return False
