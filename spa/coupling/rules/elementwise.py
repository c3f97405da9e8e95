"""Elementwise operators: unary ones pass layers on, the others align their operands."""

from __future__ import annotations

from spa.coupling.align import align
from spa.coupling.rules.base import rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitCast", "BitwiseNot", "Cast",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg",
    "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
BROADCASTING = (
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu",
    "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip


@rule(*UNARY)
def unary(node: Node, tracker: Tracker) -> None:
    """Y has the layers of x. Further inputs (bounds, ratios, seeds) are scalars.

    Dropout's mask, a second output, has them too. Identity of a parameter is that parameter.
    """
    if node.op == "Identity" and tracker.is_alias(node.outputs[0]):
        return
    layers = tracker.read(node, 0)
    for i in range(len(node.outputs)):
        tracker.write(node, layers, i)


@rule("CastLike")
def cast_like(node: Node, tracker: Tracker) -> None:
    """Only the type of the second input matters."""
    tracker.write(node, tracker.read(node, 0))


@rule(*BROADCASTING)
def broadcasting(node: Node, tracker: Tracker) -> None:
    """Operands are aligned from the last axis; see `spa.coupling.align`."""
    rank = len(tracker.out_shape(node))
    operands = [(tracker.shape(node, i), tracker.read(node, i)) for i in range(len(node.inputs))]
    tracker.write(node, align(tracker, node, operands, rank))
