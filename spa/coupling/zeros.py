"""Where removed entries are zero once the weights that make them are zero.

A sum over a tracked axis, or a product of two activations summed over it, is exact only where the
removed entries are zero at that point. They are, from a contraction with a zeroed weight (and bias)
on, through every operator that maps zero to zero; not after a sigmoid, an exponential or a kept
bias.
"""

from __future__ import annotations

import numpy as np

from spa.graph.model import Model
from spa.graph.nodes import Node

CONTRACTIONS = ("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul")
# f(0) = 0, or a movement, or a mean, maximum or sum over other entries of the same channel.
KEEPS_ZERO = frozenset({
    "Abs", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "Cast", "CastLike", "Ceil", "Celu",
    "DepthToSpace", "SpaceToDepth",
    "Dropout", "Elu", "Erf", "Expand", "Flatten", "Floor", "Gather", "Gelu", "GlobalAveragePool",
    "GlobalMaxPool", "HardSwish", "Identity", "LeakyRelu", "MaxPool", "Mish", "Neg", "PRelu",
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare",
    "Relu", "Reshape", "Round", "Selu", "Sign", "Sin", "Sinh", "Slice", "Softsign", "Split", "Sqrt",
    "Squeeze", "Swish", "Tan", "Tanh", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
# Zero where every operand is.
KEEPS_COMMON_ZERO = frozenset({"Add", "Concat", "Max", "Mean", "Min", "Sub", "Sum"})


def zero_tensors(model: Model) -> frozenset[str]:
    """Activations whose removed entries are zero in the zeroed dense model."""
    found: set[str] = set()
    for node in model.graph.nodes:
        if _is_zero(node, model, found):
            found.update(name for name in node.outputs if name)
    return frozenset(found)


def bias_of(node: Node, model: Model) -> str | None:
    """The constant that an Add gives to a contraction's output as its bias."""
    if node.op != "Add":
        return None
    for i in (0, 1):
        producer = model.graph.producers.get(node.inputs[i])
        other = node.inputs[1 - i]
        if producer is not None and producer.op in CONTRACTIONS and other in model.constants:
            return other
    return None


def _is_zero(node: Node, model: Model, zero: set[str]) -> bool:
    if node.op in CONTRACTIONS:
        operands = node.inputs if node.op == "Einsum" else node.inputs[:2]
        return not model.constants.isdisjoint(operands) or not zero.isdisjoint(operands)
    if node.op in KEEPS_ZERO:
        return node.inputs[0] in zero
    if node.op in KEEPS_COMMON_ZERO:
        bias = bias_of(node, model)
        return all(name in zero or name == bias for name in node.inputs if name)
    if node.op == "Mul":
        return bool(zero.intersection(node.inputs))
    if node.op == "Div":
        return node.inputs[0] in zero
    if node.op == "Clip":
        return node.inputs[0] in zero and _contains_zero(node, model)
    return False


def _contains_zero(node: Node, model: Model) -> bool:
    bounds = []
    for i, name in ((1, "min"), (2, "max")):
        bound = node.attr(name)
        if node.has_input(i):
            value = model.static_value(node.inputs[i])
            if value is None:
                return False
            bound = float(np.asarray(value).reshape(-1)[0])
        bounds.append(bound)
    low, high = bounds
    return (low is None or low <= 0) and (high is None or high >= 0)
