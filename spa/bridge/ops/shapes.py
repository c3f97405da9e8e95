"""Shapes as tensors, and tensors from shapes. These live in host memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, converter, elementwise

elementwise("Size", lambda x: torch.tensor(math.prod(x.shape)))


@converter("Shape")
def shape(node: OpNode) -> Function:
    """The sizes from ``start`` to ``end``."""
    start, end = node.attrs.get("start", 0), node.attrs.get("end")
    return lambda x: torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64)


@converter("ConstantOfShape", host=(0,))
def constant_of_shape(node: OpNode) -> Function:
    """A tensor filled with one value, 0.0 by default."""
    value = node.attrs.get("value", torch.zeros(1))

    def run(sizes: Tensor) -> Tensor:
        return torch.full(sizes.tolist(), value.item(), dtype=value.dtype)

    return run


@converter("Range", host=(0, 1, 2))
def number_range(node: OpNode) -> Function:
    """From start to limit (excluded) in steps of delta, in their own type."""

    def run(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    return run


@converter("EyeLike")
def eye_like(node: OpNode) -> Function:
    """Ones on the k-th diagonal, in the shape of the input."""
    k = node.attrs.get("k", 0)

    def run(x: Tensor) -> Tensor:
        return torch.diag_embed(torch.ones(max(x.shape), dtype=x.dtype), k)[
            : x.shape[0], : x.shape[1]
        ]

    if "dtype" in node.attrs:
        raise ValueError("dtype of EyeLike")
    return run
