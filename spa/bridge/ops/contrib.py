"""Operators of com.microsoft that ONNX Runtime's fusions leave in files, and their kin."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.registry import Function, OpNode, converter

OWN = "com.microsoft"
Maybe = Tensor | None


@converter("Gelu", "BiasGelu", domain=OWN)
def gelu(node: OpNode) -> Function:
    """The exact one, of x or of x + bias."""
    return lambda x, bias=None: functional.gelu(x if bias is None else x + bias)


@converter("FastGelu", domain=OWN)
def fast_gelu(node: OpNode) -> Function:
    """The one by tanh."""
    return lambda x, bias=None: functional.gelu(x if bias is None else x + bias, approximate="tanh")


@converter("QuickGelu", domain=OWN)
def quick_gelu(node: OpNode) -> Function:
    """Sigmoid of alpha * x, times x."""
    alpha = node.attrs.get("alpha", 1.702)
    return lambda x: x * torch.sigmoid(alpha * x)


@converter("FusedMatMul", domain=OWN)
def fused_matmul(node: OpNode) -> Function:
    """Alpha * a' b', where ' is an optional transposition, of the batch with the rows too."""
    alpha = node.attrs.get("alpha", 1.0)
    flags = [(node.attrs.get(f"trans{x}", 0), node.attrs.get(f"transBatch{x}", 0)) for x in "AB"]

    def run(a: Tensor, b: Tensor) -> Tensor:
        a, b = (_turned(x, *flag) for x, flag in zip((a, b), flags, strict=True))
        y = torch.matmul(a, b)
        return y if alpha == 1.0 else alpha * y

    return run


def _turned(x: Tensor, last: int, batch: int) -> Tensor:
    if batch:  # (b0, ..., M, K) is stored as (M, b0, ..., K)
        x = x.movedim(0, -2)
    return x.mT if last and x.dim() > 1 else x


@converter("SkipLayerNormalization", domain=OWN)
def skip_layer_norm(node: OpNode) -> Function:
    """x, skip: (B, T, C)   scale, shift, bias: (C,)   outputs: y, mean, 1/deviation, the sum."""
    epsilon = node.attrs.get("epsilon", 1e-12)

    def run(
        x: Tensor, skip: Tensor, scale: Tensor, shift: Maybe = None, bias: Maybe = None
    ) -> tuple[Tensor, ...]:
        total = x + skip if bias is None else x + skip + bias
        mean = total.mean(-1, keepdim=True)
        rate = torch.rsqrt((total - mean).square().mean(-1, keepdim=True) + epsilon)
        y = functional.layer_norm(total, total.shape[-1:], scale, shift, epsilon)
        return (y, mean, rate, total)[: max(1, len(node.outputs))]

    return run


@converter("SkipSimplifiedLayerNormalization", domain=OWN)
def skip_simplified_layer_norm(node: OpNode) -> Function:
    """The same without mean and shift."""
    epsilon = node.attrs.get("epsilon", 1e-12)

    def run(x: Tensor, skip: Tensor, scale: Tensor, bias: Maybe = None) -> tuple[Tensor, ...]:
        total = x + skip if bias is None else x + skip + bias
        rate = torch.rsqrt(total.square().mean(-1, keepdim=True) + epsilon)
        mean = torch.zeros_like(rate)
        return (total * rate * scale, mean, rate, total)[: max(1, len(node.outputs))]

    return run


@converter("SimplifiedLayerNormalization")
def simplified_layer_norm(node: OpNode) -> Function:
    """RMS norm over the last axes, which ONNX Runtime files under the standard domain."""
    epsilon, axis = node.attrs.get("epsilon", 1e-5), node.attrs.get("axis", -1)

    def run(x: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        axes = tuple(range(axis % x.dim(), x.dim()))
        rate = torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon)
        return (x * rate * scale, rate)[: max(1, len(node.outputs))]

    return run
