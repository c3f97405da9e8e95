"""Matrix products, with weights as run-time tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, converter, elementwise

elementwise("MatMul", torch.matmul)


@converter("Gemm")
def gemm(node: OpNode) -> Function:
    """Alpha * a' b' + beta * c, where ' is an optional transposition."""
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    trans_a, trans_b = node.attrs.get("transA", 0), node.attrs.get("transB", 0)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        y = torch.matmul(a.mT if trans_a else a, b.mT if trans_b else b)
        if alpha != 1.0:
            y = alpha * y
        if c is None:
            return y
        return y + (c if beta == 1.0 else beta * c)

    return run


@converter("Einsum")
def einsum(node: OpNode) -> Function:
    """Torch reads the same equations."""
    equation = node.attrs["equation"].replace(" ", "")
    return lambda *tensors: torch.einsum(equation, *tensors)
