"""Fourier transforms over one axis, and the windows that go before.

x: (..., 1 or 2), the last axis real and imaginary parts
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spa.bridge.ops.casting import DTYPES
from spa.bridge.registry import Function, OpNode, converter


@converter("DFT", host=(1, 2))
def dft(node: OpNode) -> Function:
    """The axis is an attribute at opset 17 (1), an input from opset 20 on (-2)."""
    inverse = bool(node.attrs.get("inverse", 0))
    onesided = bool(node.attrs.get("onesided", 0))
    default = node.attrs.get("axis", 1) if node.version < 20 else -2

    def run(x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
        dim = (default if axis is None else int(axis)) % x.dim()
        signal = x[..., 0] if x.shape[-1] == 1 else torch.view_as_complex(x.contiguous())
        size = x.shape[dim] if length is None else int(length)
        if inverse and onesided:  # back to real numbers
            size = 2 * (signal.shape[dim] - 1) if length is None else int(length)
            real: Tensor = torch.fft.irfft(signal, size, dim)
            return real[..., None]
        transform = torch.fft.ifft if inverse else torch.fft.fft
        y = torch.view_as_real(transform(signal, size, dim).resolve_conj())
        return y.narrow(dim, 0, size // 2 + 1) if onesided else y

    return run


@converter("STFT", host=(1, 3))
def stft(node: OpNode) -> Function:
    """x: (N, T, 1 or 2)   window: (L,)   y: (N, frames, frequencies, 2)."""
    onesided = bool(node.attrs.get("onesided", 1))

    def run(
        x: Tensor, step: Tensor, window: Tensor | None = None, length: Tensor | None = None
    ) -> Tensor:
        size = int(length) if length is not None else 0 if window is None else window.shape[0]
        signal = (
            torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.reshape(x.shape[:2])
        )
        frames = signal.unfold(1, size, int(step))
        frames = frames if window is None else frames * window
        y = torch.view_as_real(torch.fft.fft(frames, dim=-1))
        return y[:, :, : size // 2 + 1] if onesided else y

    return run


_WINDOWS: dict[str, Function] = {
    "HannWindow": torch.hann_window,
    "HammingWindow": torch.hamming_window,
    "BlackmanWindow": torch.blackman_window,
}


@converter(*_WINDOWS, host=(0,))
def window(node: OpNode) -> Function:
    """As long as the input says; periodic ones are one step of a longer one short."""
    make, periodic = _WINDOWS[node.op], bool(node.attrs.get("periodic", 1))
    kind = DTYPES[node.attrs.get("output_datatype", 1)]
    # The exact values, which torch rounds.
    more: dict[str, Any] = {"alpha": 25 / 46, "beta": 21 / 46} if node.op == "HammingWindow" else {}
    return lambda size: make(int(size), periodic=periodic, **more).to(kind)
