"""Every unary operator, where it is defined; `act` is what stands behind a layer."""

from __future__ import annotations

from tests.graphs import Builder
from tests.random_graphs.registry import NO_KERNEL, Draw, one_of, scalar

USUAL = ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Softplus", "HardSigmoid", "Softsign")
# Since which opset, and what squeezes its input into where it is defined, steady and not too steep.
UNARY: dict[str, tuple[int, str]] = {
    "Abs": (6, ""), "Acos": (7, "unit"), "Acosh": (9, "above one"), "Asin": (7, "unit"),
    "Asinh": (9, ""), "Atan": (7, ""), "Atanh": (9, "unit"), "Ceil": (6, ""), "Celu": (12, ""),
    "Cos": (7, ""), "Cosh": (9, "unit"), "Elu": (6, ""), "Erf": (9, ""), "Exp": (6, "unit"),
    "Floor": (6, ""), "Gelu": (20, ""), "HardSigmoid": (6, ""), "HardSwish": (14, ""),
    "LeakyRelu": (6, ""), "Log": (6, "above one"), "Mish": (18, ""), "Neg": (6, ""),
    "Reciprocal": (6, "above one"), "Relu": (6, ""), "Round": (11, ""), "Selu": (6, ""),
    "Shrink": (9, ""), "Sigmoid": (6, ""), "Sign": (9, ""), "Sin": (7, ""), "Sinh": (9, "unit"),
    "Softplus": (1, ""), "Softsign": (1, ""), "Sqrt": (6, "above one"), "Swish": (24, ""),
    "Tan": (7, "unit"), "Tanh": (6, ""), "ThresholdedRelu": (10, ""),
}  # fmt: skip


def _squeezed(g: Builder, name: str, into: str) -> str:
    if into == "unit":
        return g.node("Mul", [g.node("Tanh", [name]), scalar(g, 0.8)])
    if into == "above one":
        return g.node("Add", [g.node("Softplus", [name]), scalar(g, 1.25)])
    return name


def pointwise(g: Builder, draw: Draw, name: str) -> str:
    ops = [op for op, (since, _) in UNARY.items() if since <= g.opset < NO_KERNEL.get(op, 99)]
    op = one_of(draw, *ops)
    return g.node(op, [_squeezed(g, name, UNARY[op][1])])


def act(g: Builder, draw: Draw, name: str) -> str:
    """Mostly a usual activation, now and then any unary operator."""
    if one_of(draw, True, True, True, False):
        newer = ("Swish",) if UNARY["Swish"][0] <= g.opset < NO_KERNEL["Swish"] else ()
        return g.node(one_of(draw, *USUAL, *newer), [name])
    return pointwise(g, draw, name)
