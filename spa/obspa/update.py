"""The refit of a layer's weight once the columns S of its matrix go.

    min over W' with W'_S = 0 of  (2/n) ||Y - W' X||^2 + lambda ||W' - W||^2

With K the columns that stay, H = (2/n) X X^T and C = (2/n) X_y X^T for a target Y = W X_y:

    W'_K = W_K + (W C_K - W_K H_KK) (H_KK + lambda I)^-1

1. Y = W X, the layer's own output: C = H, and this is the closed form of optimal brain surgery,
   W - W_S ([Hd^-1]_SS)^-1 Hd^-1[S, :] with Hd = H + lambda I, without the inverse of all of H.
2. Y = W X_dense, what the dense model gives on its own inputs: asymmetric least squares, which also
   makes up for what earlier layers lost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spa.obspa.hessian import strength


def refit(weight: Tensor, h: Tensor, cross: Tensor, keep: Tensor, damping: float) -> Tensor:
    """The best matrix that uses the kept columns only.

    Args:
        weight: W, shape (O, D).
        h: H, undamped, shape (D, D) in float64.
        cross: C, the same shape; H itself for the layer's own output.
        keep: which columns stay, shape (D,), bool.
        damping: lambda as a share of H's mean diagonal.

    Returns:
        W', of the shape and type of W; zero in the columns that go.
    """
    w = weight.double()
    kept = torch.nonzero(keep).reshape(-1)
    h_kept = h[kept][:, kept]
    residual = w @ cross[:, kept] - w[:, kept] @ h_kept
    lam = strength(h, damping)
    system = h_kept + lam * torch.eye(kept.numel(), dtype=h.dtype, device=h.device)
    step = torch.cholesky_solve(residual.T, torch.linalg.cholesky(system)).T
    result = torch.zeros_like(weight)
    result[:, kept] = (w[:, kept] + step).to(weight.dtype)
    return result
