"""Activations: onnx2torch's where it has them, plus those that it lacks or gets wrong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.registry import Function, OpNode, borrowed, converter, elementwise

borrowed(
    "Relu",
    "LeakyRelu",
    "Elu",
    "Celu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Softmax",
    "LogSoftmax",
    "Erf",
)
elementwise("Mish", functional.mish)


@converter("PRelu")
def prelu(node: OpNode) -> Function:
    """The slope broadcasts to x by NumPy's rule, whatever its rank."""
    return lambda x, slope: torch.where(x >= 0, x, slope * x)


@converter("Selu")
def selu(node: OpNode) -> Function:
    """Gamma * (x for x > 0, alpha * (exp(x) - 1) else)."""
    alpha = node.attrs.get("alpha", 1.67326319217681884765625)
    gamma = node.attrs.get("gamma", 1.05070102214813232421875)
    return lambda x: gamma * functional.elu(x, alpha)


@converter("Gelu")
def gelu(node: OpNode) -> Function:
    """``approximate`` has the same two values as in torch."""
    approximate = node.attrs.get("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


@converter("ThresholdedRelu")
def thresholded_relu(node: OpNode) -> Function:
    """Pass x above alpha, 0 elsewhere."""
    alpha = node.attrs.get("alpha", 1.0)
    return lambda x: functional.threshold(x, alpha, 0.0)


@converter("Swish")
def swish(node: OpNode) -> Function:
    """X * sigmoid(alpha * x)."""
    alpha = node.attrs.get("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


@converter("Shrink")
def shrink(node: OpNode) -> Function:
    """Move values outside [-lambd, lambd] towards zero by bias; the rest is zero."""
    lambd, bias = node.attrs.get("lambd", 0.5), node.attrs.get("bias", 0.0)

    def run(x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))

    return run


@converter("Clip", until=6)
def clip_by_attribute(node: OpNode) -> Function:
    """Bounds are attributes."""
    low, high = node.attrs.get("min"), node.attrs.get("max")
    return lambda x: x if low is None and high is None else torch.clamp(x, low, high)


@converter("Clip", since=11)
def clip_by_input(node: OpNode) -> Function:
    """Bounds are optional scalar inputs."""

    def run(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        # Two one-sided bounds, as clamp wants two tensors or two numbers; max wins, as in ONNX.
        if low is not None:
            x = torch.clamp(x, min=low)
        return x if high is None else torch.clamp(x, max=high)

    return run


@converter("Hardmax", since=13)
def hardmax(node: OpNode) -> Function:
    """One at the first maximum along the axis, zero elsewhere."""
    axis = node.attrs.get("axis", -1)

    def run(x: Tensor) -> Tensor:
        return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)

    return run
