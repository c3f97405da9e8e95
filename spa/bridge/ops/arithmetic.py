"""Elementwise arithmetic, comparison and logic."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, borrowed, converter, elementwise

borrowed("Add", "Sub", "Mul", "Div")
borrowed("Abs", "Neg", "Reciprocal", "Exp", "Log", "Sign", "Floor", "Ceil", "Round")
borrowed("Sin", "Cos", "Tan", "Asin", "Acos", "Atan")
borrowed("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
borrowed("And", "Or", "Xor", "Not", "Where")
elementwise("Sqrt", torch.sqrt)
elementwise("Sinh", torch.sinh)
elementwise("Cosh", torch.cosh)
elementwise("Asinh", torch.asinh)
elementwise("Acosh", torch.acosh)
elementwise("Atanh", torch.atanh)
elementwise("IsNaN", torch.isnan)
elementwise("BitwiseAnd", torch.bitwise_and)
elementwise("BitwiseOr", torch.bitwise_or)
elementwise("BitwiseXor", torch.bitwise_xor)
elementwise("BitwiseNot", torch.bitwise_not)
elementwise("Det", torch.linalg.det)


def _fold(function: Function) -> Function:
    """Apply a function of two tensors to any number of them."""
    return lambda *tensors: functools.reduce(function, tensors)


elementwise("Sum", _fold(torch.add))
elementwise("Min", _fold(torch.minimum))
elementwise("Max", _fold(torch.maximum))
elementwise("Mean", lambda *tensors: functools.reduce(torch.add, tensors) / len(tensors))


@converter("Pow", since=7)
def power(node: OpNode) -> Function:
    """The output has the base's type, whatever the exponent's."""

    def run(x: Tensor, exponent: Tensor) -> Tensor:
        return torch.pow(x, exponent).to(x.dtype)

    return run


@converter("Mod")
def modulo(node: OpNode) -> Function:
    """The sign is the divisor's, or with fmod=1 the dividend's."""
    return torch.fmod if node.attrs.get("fmod", 0) else torch.remainder


@converter("IsInf")
def is_infinite(node: OpNode) -> Function:
    """Either sign can be left out."""
    positive = bool(node.attrs.get("detect_positive", 1))
    negative = bool(node.attrs.get("detect_negative", 1))

    def run(x: Tensor) -> Tensor:
        return (torch.isposinf(x) & positive) | (torch.isneginf(x) & negative)

    return run


@converter("CumSum", host=(1,))
def cumulative_sum(node: OpNode) -> Function:
    """Along one axis, from either end, with or without the element itself."""
    return _scan(node, torch.cumsum, lambda x, dim: x.cumsum(dim) - x)


@converter("CumProd", host=(1,))
def cumulative_product(node: OpNode) -> Function:
    """As the sum; without the element itself, the product begins with 1."""

    def without_itself(x: Tensor, dim: int) -> Tensor:
        first, before = torch.ones_like(x.narrow(dim, 0, 1)), x.narrow(dim, 0, x.shape[dim] - 1)
        return torch.cat([first, before], dim).cumprod(dim)

    return _scan(node, torch.cumprod, without_itself)


def _scan(
    node: OpNode,
    inclusive: Callable[[Tensor, int], Tensor],
    exclusive: Callable[[Tensor, int], Tensor],
) -> Function:
    """What a node makes of a running total with every element itself, or without it."""
    total = exclusive if node.attrs.get("exclusive", 0) else inclusive
    reverse = node.attrs.get("reverse", 0)

    def run(x: Tensor, axis: Tensor) -> Tensor:
        dim = int(axis)
        y = total(x.flip(dim) if reverse else x, dim)
        return (y.flip(dim) if reverse else y).to(x.dtype)

    return run


@converter("BitShift")
def bit_shift(node: OpNode) -> Function:
    """To the left or to the right."""
    left = node.attrs["direction"] == "LEFT"
    return torch.bitwise_left_shift if left else torch.bitwise_right_shift
