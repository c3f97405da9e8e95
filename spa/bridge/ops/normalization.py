"""Normalisations. x: (N, C, *sizes) unless an axis is given."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.registry import Function, Operator, OpNode, converter


class BatchNorm(Operator):
    """Batch normalisation that trains as torch's does.

    In train mode it normalises with the batch's statistics and moves the running ones, in place:
    running = momentum * running + (1 - momentum) * batch, which is ONNX's convention (torch's
    momentum is 1 minus this), with torch's unbiased variance. Otherwise the stored ones serve.

    Attributes:
        momentum: ONNX's momentum.
        epsilon: added to the variance.
        always: the node itself asks for batch statistics (training_mode = 1).
    """

    def __init__(self, momentum: float, epsilon: float, always: bool) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.always = always

    def compute(self, *inputs: Tensor | None) -> Tensor:
        """Take x, scale, bias, running mean and running variance."""
        x, scale, bias, mean, var = inputs
        assert x is not None
        training = self.training or self.always
        return functional.batch_norm(
            x,
            # A node that always uses the batch must not move what eval mode returns unchanged.
            mean if self.training or not self.always else None,
            var if self.training or not self.always else None,
            scale,
            bias,
            training,
            1.0 - self.momentum,
            self.epsilon,
        )


@converter("BatchNormalization", since=7)
def batch_norm(node: OpNode) -> Operator:
    """Only the first output: the statistics stay in the module."""
    if any(node.wants(i) for i in range(1, len(node.outputs))) or node.attrs.get("spatial", 1) == 0:
        raise ValueError("statistics as outputs, and spatial=0, are for training graphs only")
    return BatchNorm(
        node.attrs.get("momentum", 0.9),
        node.attrs.get("epsilon", 1e-5),
        bool(node.attrs.get("training_mode", 0)),
    )


@converter("InstanceNormalization")
def instance_norm(node: OpNode) -> Function:
    """Each channel of each sample by itself."""
    epsilon = node.attrs.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        y = functional.group_norm(x, x.shape[1], None, None, epsilon)
        return y * _per_channel(scale, x) + _per_channel(bias, x)

    return run


@converter("GroupNormalization")
def group_norm(node: OpNode) -> Function:
    """Scale and bias are per group at opset 18, per channel from 21 on."""
    groups, epsilon = node.attrs["num_groups"], node.attrs.get("epsilon", 1e-5)
    per_group = node.version < 21

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if per_group:
            repeats = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
        return functional.group_norm(x, groups, scale, bias, epsilon)

    return run


@converter("LayerNormalization")
def layer_norm(node: OpNode) -> Function:
    """Over all axes from ``axis`` on; mean and 1/deviation are optional outputs."""
    axis, epsilon = node.attrs.get("axis", -1), node.attrs.get("epsilon", 1e-5)
    statistics = node.wants(1) or node.wants(2)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            y = functional.layer_norm(x, shape, scale, bias, epsilon)
        else:
            y = functional.layer_norm(x, shape, None, None, epsilon) * scale
            y = y if bias is None else y + bias
        if not statistics:
            return y
        dims = list(range(x.dim()))[axis:]
        var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
        return y, mean, torch.rsqrt(var + epsilon)

    return run


@converter("RMSNormalization")
def rms_norm(node: OpNode) -> Function:
    """Layer normalisation without the mean."""
    axis, epsilon = node.attrs.get("axis", -1), node.attrs.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        dims = list(range(x.dim()))[axis:]
        return x * torch.rsqrt(x.square().mean(dims, keepdim=True) + epsilon) * scale

    return run


@converter("LRN")
def local_response(node: OpNode) -> Function:
    """X / (bias + alpha / size * sum of squares over size neighbouring channels) ** beta."""
    size = node.attrs["size"]
    alpha, beta = node.attrs.get("alpha", 1e-4), node.attrs.get("beta", 0.75)
    shift = node.attrs.get("bias", 1.0)
    # torch's own layer puts the odd neighbour of an even size on the other side.
    before, after = (size - 1) // 2, math.ceil((size - 1) / 2)

    def run(x: Tensor) -> Tensor:
        # squares: (N, C + size - 1, M), unfold -> (N, C, M, size)
        squares = functional.pad(x.square().flatten(2), (0, 0, before, after))
        total = squares.unfold(1, size, 1).sum(-1).reshape(x.shape)
        y: Tensor = x / (shift + alpha / size * total) ** beta
        return y

    return run


@converter("LpNormalization")
def lp_normalization(node: OpNode) -> Function:
    """X over its p-norm along one axis."""
    axis, p = node.attrs.get("axis", -1), node.attrs.get("p", 2)

    def run(x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
        return x / norm.masked_fill(norm == 0, 1.0)  # zeros stay zeros

    return run


@converter("MeanVarianceNormalization")
def mean_variance(node: OpNode) -> Function:
    """(x - mean) / deviation over the given axes."""
    axes = node.attrs.get("axes", [0, 2, 3])

    def run(x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (x - mean) / (var.sqrt() + 1e-9)

    return run


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.dim() - 2))
