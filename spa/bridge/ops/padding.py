"""Pad, in any rank and mode; negative amounts cut."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.registry import Function, OpNode, converter


@converter("Pad", host=(1, 2, 3))
def pad(node: OpNode) -> Function:
    """Amounts, value and axes are attributes before opset 11, inputs from then on."""
    mode = node.attrs.get("mode", "constant")

    def run(
        x: Tensor,
        pads: Tensor | None = None,
        value: Tensor | None = None,
        axes: Tensor | None = None,
    ) -> Tensor:
        amounts = node.attrs["pads"] if pads is None else pads.tolist()
        fill = node.attrs.get("value", 0.0) if value is None else value.item()
        dims = list(range(x.dim())) if axes is None else [a % x.dim() for a in axes.tolist()]
        ends = {dim: (amounts[i], amounts[i + len(dims)]) for i, dim in enumerate(dims)}
        if mode != "constant":
            return _by_index(x, ends, mode)
        flat = [n for dim in reversed(range(x.dim())) for n in ends.get(dim, (0, 0))]
        if x.dtype == torch.bool:  # torch pads no booleans
            return functional.pad(x.to(torch.uint8), flat, value=int(fill)).to(torch.bool)
        return functional.pad(x, flat, value=fill)

    return run


def _by_index(x: Tensor, ends: dict[int, tuple[int, int]], mode: str) -> Tensor:
    """Let NumPy pad the row of indices of each axis, and select by it."""
    for dim, (start, end) in ends.items():
        if start == end == 0:
            continue
        rows = np.arange(x.shape[dim])
        rows = rows[max(-start, 0) : len(rows) - max(-end, 0)]
        rows = np.pad(rows, (max(start, 0), max(end, 0)), mode=mode)  # type: ignore[call-overload]
        x = x.index_select(dim, torch.from_numpy(rows).to(x.device))
    return x
