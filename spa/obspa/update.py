"""The refit of a layer's weight once the columns S of its matrix go.

    min over W' with W'_S = 0 of  (2/n) ||Y - W' X||^2 + lambda ||W' - W||^2

With K the columns that stay and R = Y - W_K X_K what is missing without them:

    W'_K = W_K + (2/n) R X_K^T (H_KK + lambda I)^-1         H = (2/n) X X^T

1. Y = W X, the layer's own output: this is the closed form of optimal brain surgery,
   W - W_S ([Hd^-1]_SS)^-1 Hd^-1[S, :] with Hd = H + lambda I, without the inverse of all of H.
2. Y = W X_dense, what the dense model gives on its own inputs: asymmetric least squares, which also
   makes up for what earlier layers lost.

With fewer rows than kept columns the same step comes from a system over the rows,
R ((n/2) lambda I + X_K^T X_K)^-1 X_K^T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spa.observe.hessian import damped, diagonal, gram, hessian, strength


def refit(weight: Tensor, rows: Tensor, dense: Tensor, keep: Tensor, damping: float) -> Tensor:
    """The best matrix that uses the kept columns only.

    Args:
        weight: W, shape (O, D).
        rows: X, the layer's inputs, shape (n, D).
        dense: what W should be applied to for the target: ``rows`` itself, or the dense model's
            inputs at the same positions.
        keep: which columns stay, shape (D,), bool.
        damping: lambda as a share of H's mean diagonal, over all columns.

    Returns:
        W', of the shape and type of W; zero in the columns that go.
    """
    kept = torch.nonzero(keep).reshape(-1)
    x, w = rows[:, kept], weight.to(rows.dtype)
    missing = dense @ w.T - x @ w[:, kept].T  # R^T, (n, O)
    solve = _over_rows if rows.shape[0] < kept.numel() else _over_columns
    step = solve(x, missing, strength(diagonal(rows), damping))
    result = torch.zeros_like(weight)
    result[:, kept] = (weight[:, kept].double() + step).to(weight.dtype)
    return result


def _over_columns(x: Tensor, missing: Tensor, lam: float) -> Tensor:
    factor = torch.linalg.cholesky(damped(hessian(x), lam))
    return torch.cholesky_solve(gram(x, missing), factor).T


def _over_rows(x: Tensor, missing: Tensor, lam: float) -> Tensor:
    x = x.double()
    factor = torch.linalg.cholesky(damped(x @ x.T, lam * x.shape[0] / 2))
    return torch.cholesky_solve(missing.double(), factor).T @ x
