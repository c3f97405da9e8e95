"""The Hessian of a layer's squared output error: H = (2/n) X X^T over its input rows.

Products of float32 blocks are added up in float64. An input that is zero in every row says nothing:
its diagonal entry is set to 1. ``damping`` times the mean diagonal is then added to the diagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_ROWS = 8192


def gram(a: Tensor, b: Tensor) -> Tensor:
    """(2/n) A^T B in float64.

    Args:
        a: rows (n, D).
        b: rows (n, E) at the same positions.

    Returns:
        shape (D, E).
    """
    total = torch.zeros(a.shape[1], b.shape[1], dtype=torch.float64, device=a.device)
    for start in range(0, a.shape[0], BLOCK_ROWS):
        total += (a[start : start + BLOCK_ROWS].T @ b[start : start + BLOCK_ROWS]).double()
    return total * (2.0 / max(1, a.shape[0]))


def hessian(rows: Tensor) -> Tensor:
    """H of input rows (n, D), with 1 on the diagonal of dead inputs; undamped."""
    h = gram(rows, rows)
    diagonal = h.diagonal()
    diagonal[diagonal == 0] = 1.0
    return h


def damped(h: Tensor, damping: float) -> Tensor:
    """H plus ``damping`` times its mean diagonal on the diagonal."""
    return h + strength(h, damping) * torch.eye(h.shape[0], dtype=h.dtype, device=h.device)


def strength(h: Tensor, damping: float) -> float:
    """What is added to the diagonal: lambda."""
    return damping * float(h.diagonal().mean())
