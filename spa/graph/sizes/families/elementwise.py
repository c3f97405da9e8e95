"""Operators whose outputs have their first input's sizes, or those that broadcasting gives."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from spa.graph.nodes import Node
from spa.graph.sizes.registry import Axes, Reasoner, axes_of

LIKE_THE_FIRST = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization", "Bernoulli",
    "BitCast",
    "BitwiseNot", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "CumProd", "CumSum",
    "DequantizeLinear", "Dropout", "Elu", "Erf", "Exp", "EyeLike", "Floor", "Gelu",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "InstanceNormalization", "IsInf", "IsNaN", "LRN", "LayerNormalization", "LeakyRelu", "Log",
    "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Mish", "Neg", "Not", "PRelu",
    "QuantizeLinear", "RMSNormalization", "RandomNormalLike", "RandomUniformLike", "Reciprocal",
    "Relu", "ReverseSequence", "RotaryEmbedding", "Round", "Scatter", "ScatterElements",
    "ScatterND", "Selu", "Shrink", "Sigmoid", "Sign", "SimplifiedLayerNormalization", "Sin", "Sinh",
    "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "TensorScatter",
    "ThresholdedRelu", "Trilu", "com.microsoft::BiasGelu", "com.microsoft::DequantizeLinear",
    "com.microsoft::FastGelu", "com.microsoft::Gelu", "com.microsoft::QLinearLeakyRelu",
    "com.microsoft::QLinearSigmoid", "com.microsoft::QLinearSoftmax",
    "com.microsoft::QuantizeLinear", "com.microsoft::QuickGelu", "com.microsoft::RotaryEmbedding",
    "com.microsoft::SkipLayerNormalization", "com.microsoft::SkipSimplifiedLayerNormalization",
)  # fmt: skip
BROADCASTING = (
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "Sub",
    "Sum", "Where", "Xor",
)  # fmt: skip
# Outputs that are as large as the first input, besides the first; others have sizes of their own.
ALSO_LIKE_IT = {
    "Dropout": (1,),
    "com.microsoft::SkipLayerNormalization": (3,),
    "com.microsoft::SkipSimplifiedLayerNormalization": (3,),
}
# Of these, the second input has as many entries as the first has channels.
PER_CHANNEL = ("BatchNormalization", "InstanceNormalization")


@axes_of(*LIKE_THE_FIRST)
def like_the_first(node: Node, reason: Reasoner) -> Axes | Sequence[Axes]:
    axes = reason.axes(node.inputs[0])
    if node.op in PER_CHANNEL and len(axes) > 1:
        reason.algebra.learn(axes[1], reason.axes(node.inputs[1])[0])
    if len(node.outputs) == 1:
        return axes
    also = ALSO_LIKE_IT.get(node.op, ())
    return [
        axes if i == 0 or i in also else _as_seen(node, reason, i, axes)
        for i in range(len(node.outputs))
    ]


def _as_seen(node: Node, reason: Reasoner, i: int, axes: Axes) -> Axes:
    """A statistic: like the input, or 1, along each axis that the input has; else of parameters."""
    if not node.outputs[i]:
        return ()
    seen = reason.seen(node.outputs[i])
    if len(seen) != len(axes):
        return seen
    return tuple(1 if size == 1 else axes[k] for k, size in enumerate(seen))


@axes_of("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul")
def of_two_quantised(node: Node, reason: Reasoner) -> Axes:
    """a, its scale and zero point, b, its own."""
    return broadcast(reason, [reason.axes(node.inputs[i]) for i in (0, 3)])


@axes_of(*BROADCASTING)
def broadcasting(node: Node, reason: Reasoner) -> Axes:
    return broadcast(reason, [reason.axes(name) for name in node.inputs])


def broadcast(reason: Reasoner, operands: Sequence[Axes]) -> Axes:
    """The sizes that some operands have together."""
    first = operands[0]
    if all([axes is first or axes == first for axes in operands]):
        return first
    rank = max(map(len, operands))
    lifted = [(1,) * (rank - len(axes)) + tuple(axes) for axes in operands]
    return tuple(
        [functools.reduce(reason.algebra.broadcast, sizes) for sizes in zip(*lifted, strict=True)]
    )
