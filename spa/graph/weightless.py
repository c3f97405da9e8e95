"""Copies of a model that do not copy its weights.

Checking and running a model need its graph; copying, serialising and parsing gigabytes of weights
for that would take longer than the work itself.
"""

from __future__ import annotations

import math

import onnx

# Types that ONNX Runtime takes from memory.
TYPES = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT64,
)
# Smaller tensors stay in the graph: shape inference and constant folding read them.
LARGE = 1 << 16


def without_weights(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, list[onnx.TensorProto]]:
    """Copies a model but for its large initializers.

    Returns:
        The copy, and the initializers of ``proto`` that it lacks (not copied).
    """
    light = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name != "graph":
            _assign(light, field, value)
    large = []
    for field, value in proto.graph.ListFields():
        if field.name != "initializer":
            _assign(light.graph, field, value)
    for tensor in proto.graph.initializer:
        if is_large(tensor):
            large.append(tensor)
        else:
            light.graph.initializer.append(tensor)
    return light, large


def is_large(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is a large one that can be handed over as raw bytes."""
    return (
        tensor.HasField("raw_data")
        and tensor.data_type in TYPES
        and tensor.data_location != onnx.TensorProto.EXTERNAL
        and min(tensor.dims, default=0) > 0
        and math.prod(tensor.dims) >= LARGE
    )


def _assign(message: object, field: object, value: object) -> None:
    name = field.name  # type: ignore[attr-defined]
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)
