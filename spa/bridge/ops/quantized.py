"""QuantizeLinear and DequantizeLinear. Through what is rounded to integers no gradient passes."""

from __future__ import annotations

import torch
from torch import Tensor

from spa.bridge.ops.casting import DTYPES
from spa.bridge.registry import Function, OpNode, converter
from spa.errors import BridgeError

Maybe = Tensor | None


@converter("DequantizeLinear")
@converter("DequantizeLinear", domain="com.microsoft")
def dequantize(node: OpNode) -> Function:
    """(x - zero) * scale, with one scale, one per index of an axis, or one per block of it."""
    axis, block = node.attrs.get("axis", 1), node.attrs.get("block_size", 0)

    def run(x: Tensor, scale: Tensor, zero: Maybe = None) -> Tensor:
        rate = _spread(scale, x, axis, block)
        y = x.to(rate.dtype)
        return (y if zero is None else y - _spread(zero, x, axis, block).to(rate.dtype)) * rate

    return run


@converter("QuantizeLinear")
@converter("QuantizeLinear", domain="com.microsoft")
def quantize(node: OpNode) -> Function:
    """X / scale + zero, rounded to even, and no further than the type reaches."""
    axis, block = node.attrs.get("axis", 1), node.attrs.get("block_size", 0)
    named = node.attrs.get("output_dtype", 0)

    def run(x: Tensor, scale: Tensor, zero: Maybe = None) -> Tensor:
        kind = zero.dtype if zero is not None else DTYPES[named] if named else torch.uint8
        if kind.is_floating_point:
            raise BridgeError("scaling to small floats is not known")
        y = torch.round(x / _spread(scale, x, axis, block).to(x.dtype))
        if zero is not None:
            y = y + _spread(zero, x, axis, block).to(x.dtype)
        bounds = torch.iinfo(kind)
        return y.clamp(bounds.min, bounds.max).to(kind)

    return run


def _spread(values: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """Scales or zeros, so that they broadcast to x."""
    if values.dim() == 0 or values.numel() == 1:
        return values.reshape(())
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    shape = [1] * x.dim()
    shape[axis] = -1
    return values.reshape(shape)
