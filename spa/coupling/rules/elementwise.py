"""Elementwise operators: unary ones pass layers on, the others align their operands."""

from __future__ import annotations

from spa.coupling.align import align
from spa.coupling.rules.base import rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule(
    "Abs", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Dropout", "Elu", "Erf", "Gelu", "HardSwish",
    "LeakyRelu", "Mish", "Relu", "Selu", "Sin", "Sinh", "Sqrt", "Swish", "Tan", zero="each",
)  # fmt: skip
@rule(
    "Acos", "Acosh", "BitCast", "BitwiseNot", "Cos", "Cosh", "Exp", "IsInf", "IsNaN", "Not",
    "Shrink", "Softplus",
)  # fmt: skip
@rule("Cast", "Identity", zero="each", moves=True)
@rule("Ceil", "Floor", "Round", "Sign", zero="each", jumps=True)
@rule("Clip", steady=True)
@rule("HardSigmoid", "Sigmoid", bounded=True)
@rule("Log", "Reciprocal", pole=0)
@rule("Neg", zero="each", steady=True)
@rule("Softsign", "Tanh", zero="each", bounded=True)
@rule("ThresholdedRelu", jumps=True)
def unary(node: Node, tracker: Tracker) -> None:
    """Y has the layers of x. Further inputs (bounds, ratios, seeds) are scalars.

    Dropout's mask, a second output, has them too. Identity of a parameter is that parameter.
    """
    if node.op == "Identity" and tracker.is_alias(node.outputs[0]):
        return
    layers = tracker.read(node, 0)
    for i in range(len(node.outputs)):
        tracker.write(node, layers, i)


@rule("CastLike", zero="each")
def cast_like(node: Node, tracker: Tracker) -> None:
    """Only the type of the second input matters."""
    tracker.write(node, tracker.read(node, 0))


@rule("Add", "Mean", "Sub", "Sum", zero="all")
@rule("And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mul", "Or", "Xor")
@rule("Div", pole=1)
@rule("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", jumps=True)
@rule("Max", "Min", zero="all", steady=True)
@rule("PRelu", zero="each")
@rule("Pow", pole=0)
@rule("Where", steady=True)
def broadcasting(node: Node, tracker: Tracker) -> None:
    """Operands are aligned from the last axis; see `spa.coupling.align`."""
    rank = len(tracker.out_shape(node))
    operands = [(tracker.shape(node, i), tracker.read(node, i)) for i in range(len(node.inputs))]
    tracker.write(node, align(tracker, node, operands, rank))
