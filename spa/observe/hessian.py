"""The Hessian of a layer's squared output error: H = (2/n) X X^T over its input rows.

Products of float32 blocks are added up in float64. An input that is zero in every row says nothing:
its diagonal entry is set to 1. lambda, ``damping`` times the mean diagonal, is then added to the
diagonal: Hd = H + lambda I.

A layer with more inputs D than rows n (a Linear on a flattened map) never needs the (D, D) matrix.
With E = lambda I plus 1 for dead inputs, Hd^-1 is known through one of n x n:

    Hd^-1 = E^-1 - E^-1 X M X^T E^-1     M = ((n/2) I + X^T E^-1 X)^-1
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


def diagonal(rows: Tensor) -> Tensor:
    """Diagonal of H, with 1 for dead inputs; shape (D,)."""
    entries = (rows * rows).sum(dim=0, dtype=torch.float64) * (2.0 / max(1, rows.shape[0]))
    return torch.where(entries == 0, 1.0, entries)


def hessian(rows: Tensor) -> Tensor:
    """H of input rows (n, D), with 1 on the diagonal of dead inputs; undamped."""
    h = gram(rows, rows)
    entries = h.diagonal()
    entries[entries == 0] = 1.0
    return h


def damped(h: Tensor, lam: float) -> Tensor:
    """H + lambda I."""
    return h + lam * torch.eye(h.shape[0], dtype=h.dtype, device=h.device)


def strength(entries: Tensor, damping: float) -> float:
    """Lambda, from the diagonal of H."""
    return damping * float(entries.mean())


class InverseHessian:
    """Blocks of Hd^-1.

    Args:
        rows: input rows (n, D).
        damping: lambda as a share of H's mean diagonal.
    """

    def __init__(self, rows: Tensor, damping: float) -> None:
        n, size = rows.shape
        entries = diagonal(rows)
        lam = strength(entries, damping)
        self._wide = size > n
        if not self._wide:
            factor = torch.linalg.cholesky(damped(hessian(rows), lam))
            self._inverse = torch.cholesky_inverse(factor)
            return
        x = rows.double()
        dead = ~rows.any(dim=0)
        self._scale = 1.0 / (lam + dead.double())  # E^-1, (D,)
        system = (x * self._scale) @ x.T + n / 2 * torch.eye(n, dtype=x.dtype, device=x.device)
        # With M = L^-T L^-1 the second term is a Gram matrix of these columns, (n, D).
        columns = torch.linalg.solve_triangular(torch.linalg.cholesky(system), x, upper=False)
        self._columns = columns * self._scale

    def blocks(self, columns: Tensor) -> Tensor:
        """Hd^-1 over sets of columns: indices (sets, s) -> (sets, s, s)."""
        if not self._wide:
            return self._inverse[columns[:, :, None], columns[:, None, :]]
        part = self._columns[:, columns].movedim(0, 1)  # (sets, n, s)
        blocks: Tensor = torch.diag_embed(self._scale[columns]) - part.mT @ part
        return blocks
