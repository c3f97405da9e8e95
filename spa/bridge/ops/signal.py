"""Fourier transforms over one axis. x: (..., 1 or 2), the last axis real and imaginary parts."""

from __future__ import annotations

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, converter


@converter("DFT", host=(1, 2))
def dft(node: OpNode) -> Function:
    """The axis is an attribute at opset 17 (1), an input from opset 20 on (-2)."""
    inverse = bool(node.attrs.get("inverse", 0))
    onesided = bool(node.attrs.get("onesided", 0))
    default = node.attrs.get("axis", 1) if node.version < 20 else -2
    if inverse and onesided:
        raise ValueError("a one-sided inverse transform is not known")

    def run(x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
        dim = (default if axis is None else int(axis)) % x.dim()
        signal = x[..., 0] if x.shape[-1] == 1 else torch.view_as_complex(x.contiguous())
        size = x.shape[dim] if length is None else int(length)
        transform = torch.fft.ifft if inverse else torch.fft.fft
        y = torch.view_as_real(transform(signal, size, dim).resolve_conj())
        return y.narrow(dim, 0, size // 2 + 1) if onesided else y

    return run
