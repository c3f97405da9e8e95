"""Reductions over axes, which are an attribute (older opsets) or an input, and selections.

Each reduction is a step per element, a reduction, and a step after it, so that reducing over no
axis at all (noop_with_empty_axes) needs no case of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, borrowed, converter

borrowed("ArgMax", "ArgMin")


def _prod(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    # From the last axis on, so that the earlier ones keep their numbers.
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keepdims, dtype=x.dtype)
    return x


def _norm2(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    # vector_norm has gradient 0 at 0, the square root of a sum has none.
    y: Tensor = torch.linalg.vector_norm(x, 2, dim=axes, keepdim=keepdims)
    return y


def _sum(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    return x.sum(axes, keepdim=keepdims, dtype=x.dtype)


_REDUCTIONS: dict[str, Any] = {
    "ReduceSum": _sum,
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceProd": _prod,
    "ReduceL1": lambda x, axes, keep: _sum(x.abs(), axes, keep),
    "ReduceL2": _norm2,
    "ReduceSumSquare": lambda x, axes, keep: _sum(x.square(), axes, keep),
    "ReduceLogSum": lambda x, axes, keep: _sum(x, axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
}


@converter(*_REDUCTIONS, host=(1,))
def reduce(node: OpNode) -> Function:
    """Empty or missing axes mean all of them, unless noop_with_empty_axes says none."""
    function = _REDUCTIONS[node.op]
    keepdims = bool(node.attrs.get("keepdims", 1))
    noop = bool(node.attrs.get("noop_with_empty_axes", 0))

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = node.attrs.get("axes", []) if axes is None else axes.tolist()
        if not dims and noop:
            return x
        y: Tensor = function(x, dims or list(range(x.dim())), keepdims)
        return y

    return run


@converter("ArgMax", "ArgMin", until=1)
def first_extremum(node: OpNode) -> Function:
    """The first index of the extremum, as the later versions give by default."""
    axis, keepdims = node.attrs.get("axis", 0), bool(node.attrs.get("keepdims", 1))
    function = torch.argmax if node.op == "ArgMax" else torch.argmin
    return lambda x: function(x, dim=axis, keepdim=keepdims)


@converter("TopK", host=(1,))
def top_k(node: OpNode) -> Function:
    """K is an attribute before opset 10, an input from then on."""
    axis = node.attrs.get("axis", -1)
    largest = bool(node.attrs.get("largest", 1))

    def run(x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
        count = int(node.attrs["k"]) if k is None else int(k)
        # Unlike topk, a stable sort puts the first of equal values first, as ONNX wants.
        values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)

    return run
