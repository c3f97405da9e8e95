"""The refit of a layer's weight once the columns S of its matrix go.

    min over W' with W'_S = 0, and over b, of  (2/n) ||Y - W' X - b||^2 + lambda ||W' - W||^2

With K the columns that stay, H = (2/n) X X^T and C = (2/n) X Y^T, both about the means of the rows
(about zero where there is no intercept, and b = 0):

    W'_K = W_K + (C_K^T - W_K H_KK) (H_KK + lambda I)^-1        b = mean Y - W'_K mean X_K

1. Y = W X, the layer's own output: the closed form of optimal brain surgery,
   W - W_S ([Hd^-1]_SS)^-1 Hd^-1[S, :] with Hd = H + lambda I, without the inverse of all of H.
   With the intercept that is CORP's and He et al.'s affine refit.
2. Y = W X_dense, what the dense model gives on its own inputs: asymmetric least squares, which also
   makes up for what earlier layers lost.

With fewer rows than kept columns the same step comes from a system over the rows,
R ((n/2) lambda I + X_K^T X_K)^-1 X_K^T, R = Y - W_K X_K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.graph.model import Array
from spa.observe.gram import Matrix, Sums, damped, solve


@dataclass(frozen=True)
class Fit:
    """A refitted matrix.

    Attributes:
        weight: W', of the shape and type of W; zero in the columns that go.
        shift: what the layer's bias takes, (O,); zero without an intercept.
    """

    weight: Array
    shift: Matrix


def refit(
    weight: Array, sums: Sums, keep: npt.NDArray[np.bool_], lam: float, *, intercept: bool
) -> Fit:
    """The best matrix that uses the kept columns only.

    Args:
        weight: W, shape (O, D).
        sums: of the rows and of what the layer should give, about their means where there is an
            intercept; without targets these are W X.
        keep: which columns stay, shape (D,).
        lam: lambda.
        intercept: whether the bias takes what is left of the mean.
    """
    kept = np.flatnonzero(keep)
    w = weight.astype(np.float64)
    own = not sums.target.size
    if sums.rows is not None and len(sums.rows) < len(kept):
        step = _over_rows(w, sums, kept, lam, own)
    else:
        step = _over_columns(w, sums, kept, lam, own)
    result = np.zeros_like(weight)
    result[:, kept] = (w[:, kept] + step).astype(weight.dtype)
    if not intercept:
        return Fit(result, np.zeros(len(weight)))
    target = w @ sums.mean if own else sums.target
    return Fit(result, target - result[:, kept].astype(np.float64) @ sums.mean[kept])


def _over_columns(
    w: Matrix, sums: Sums, kept: npt.NDArray[np.int64], lam: float, own: bool
) -> Matrix:
    h = sums.hessian(kept)
    if own:  # C - H_KK W_K^T = H_KS W_S^T
        gone = np.setdiff1d(np.arange(w.shape[1]), kept)
        across = _block(sums, kept, gone)
        right = across @ w[:, gone].T
    else:
        targets = sums.c[kept] if sums.c is not None else _targets(sums, kept)
        # A dead input's entry of 1 stands for nothing that was seen.
        right = targets - _block(sums, kept, kept) @ w[:, kept].T
    return solve(damped(h, lam), right).T


def _block(sums: Sums, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Matrix:
    if sums.h is not None:
        return np.asarray(sums.h[np.ix_(a, b)])
    assert sums.rows is not None
    return np.asarray(sums.rows[:, a].T.astype(np.float64) @ sums.rows[:, b] * (2 / sums.n))


def _targets(sums: Sums, kept: npt.NDArray[np.int64]) -> Matrix:
    assert sums.rows is not None
    assert sums.targets is not None
    return np.asarray(sums.rows[:, kept].T.astype(np.float64) @ sums.targets * (2 / sums.n))


def _over_rows(w: Matrix, sums: Sums, kept: npt.NDArray[np.int64], lam: float, own: bool) -> Matrix:
    assert sums.rows is not None
    assert sums.targets is not None
    x = sums.rows[:, kept].astype(np.float64)
    whole = sums.rows.astype(np.float64) @ w.T if own else sums.targets
    missing = whole - x @ w[:, kept].T  # R^T, (n, O)
    system = damped(x @ x.T, lam * sums.n / 2)
    return (solve(system, missing).T @ x).astype(np.float64)
