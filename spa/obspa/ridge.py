"""How strong the ridge is: lambda of a layer.

1. A share of H's mean diagonal, over all columns.
2. ``oas``: the shrinkage of a covariance towards a multiple of the identity that is best for normal
   rows (Chen et al. 2010, oracle approximating shrinkage). S and (1 - r) S + r m I, with m the mean
   diagonal, give the same refit as S + r / (1 - r) m I, which is a ridge.
3. ``held-out``: of `SHARES`, what fits rows best that were left out of the fit: the last quarter
   of the calibration inputs, which the fit at the end takes in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from spa.graph.model import Array
from spa.observe.gram import Matrix, Sums, strength
from spa.obspa.update import Fit, refit

SHARES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
# Least and largest share that shrinkage may ask for; with few rows it asks for the identity alone.
BOUNDS = (1e-4, 10.0)


def shrinkage(covariance: Matrix, n: float) -> float:
    """OAS's r in [0, 1].

    Args:
        covariance: S, (p, p).
        n: rows that it comes from.
    """
    p = len(covariance)
    mean = float(np.trace(covariance)) / p
    squares = float(np.mean(np.square(covariance)))
    bottom = (n + 1.0) * (squares - mean**2 / p)
    return 1.0 if bottom <= 0 else min((squares + mean**2) / bottom, 1.0)


def by_shrinkage(sums: Sums, keep: npt.NDArray[np.bool_]) -> float:
    """Lambda from the kept columns' own covariance."""
    h = sums.hessian(np.flatnonzero(keep))
    r = shrinkage(h / 2, sums.n)
    share = r / (1 - r) if r < 1 else np.inf
    return float(np.clip(share, *BOUNDS)) * float(h.diagonal().mean())


def by_holding_out(
    weight: Array,
    fitted: Sums,
    held: Sums,
    keep: npt.NDArray[np.bool_],
    *,
    intercept: bool,
    shares: tuple[float, ...] = SHARES,
) -> float:
    """The share of the mean diagonal whose refit loses least on rows that it has not seen."""
    lams = [strength(fitted.diagonal, share) for share in shares]
    loss = losses(weight, held, intercept=intercept)
    found = [loss(refit(weight, fitted, keep, lam, intercept=intercept)) for lam in lams]
    return shares[int(np.argmin(found))]


def losses(weight: Array, sums: Sums, *, intercept: bool) -> Callable[[Fit], float]:
    """Mean squared error, times 2, of a refit on given rows, less what is the same for all."""
    w = weight.astype(np.float64)
    own = not sums.target.size

    def loss(fit: Fit) -> float:
        new = fit.weight.astype(np.float64)
        target = w @ sums.mean if own else sums.target
        left = target - new @ sums.mean - fit.shift  # of the means
        constant = 2 * float(left @ left) if intercept else 0.0
        if sums.h is None:
            assert sums.rows is not None
            assert sums.targets is not None
            rows = sums.rows.astype(np.float64)
            error = (rows @ w.T if own else sums.targets) - rows @ new.T
            return constant + float(np.square(error).sum()) * 2 / sums.n
        if own:
            gap = w - new
            return constant + float(np.sum((gap @ sums.h) * gap))
        assert sums.c is not None
        return constant + float(
            np.sum((new @ sums.h) * new) - 2 * np.sum(new * sums.c.T) + sums.energy
        )

    return loss
