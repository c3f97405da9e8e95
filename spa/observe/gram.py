"""Sums over a layer's input rows, which least squares takes: one batch after another.

    H = (2/n) X^T X,   or of the deviations from the means where there is an intercept
    C = (2/n) X^T Y    likewise, with Y what the layer should give

Products of float32 blocks are added up in float64, and are taken about the first block's means, as
a variance may be small beside its mean. An input that never changes says nothing: its diagonal
entry is set to 1. lambda, a share of the mean diagonal, is then added: Hd = H + lambda I.

A layer with more inputs D than rows n (a Linear on a flattened map) never needs the (D, D) matrix:
its rows themselves are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from spa.graph.model import Array
from spa.observe.steps import Product, product_on

Matrix = npt.NDArray[np.float64]
BLOCK_ROWS = 8192
BLOCK_BYTES = 2**25


@dataclass(frozen=True)
class Sums:
    """What is known of a layer's rows.

    Attributes:
        n: rows, by their weights.
        mean: of the inputs, (D,).
        target: mean of what the layer should give, (O,).
        h: about the means (or about zero): (D, D); None where rows are kept.
        c: the same of inputs and targets, (D, O); None where rows are kept.
        rows: the rows less their means, (n, D); None where they are not kept.
        targets: likewise, (n, O).
        energy: (2/n) of the squares of the targets about their means, summed.
    """

    n: float
    mean: Matrix
    target: Matrix
    h: Matrix | None
    c: Matrix | None
    rows: Array | None
    targets: Matrix | None
    energy: float

    @property
    def diagonal(self) -> Matrix:
        """Diagonal of H, with 1 for dead inputs; shape (D,)."""
        if self.h is not None:
            entries = self.h.diagonal().copy()
        else:
            assert self.rows is not None
            entries = np.einsum("nd,nd->d", self.rows, self.rows, dtype=np.float64) * (2 / self.n)
        return np.where(entries <= 0, 1.0, entries)

    def hessian(self, kept: npt.NDArray[np.int64] | None = None) -> Matrix:
        """H over some columns, with 1 on the diagonal of dead inputs; a copy."""
        if self.h is not None:
            found = self.h.copy() if kept is None else self.h[np.ix_(kept, kept)]
        else:
            assert self.rows is not None
            some = self.rows if kept is None else self.rows[:, kept]
            found = some.T.astype(np.float64) @ some * (2 / self.n)
        dead = np.flatnonzero(found.diagonal() <= 0)
        found[dead, dead] = 1.0
        return found


class Rows:
    """Takes a layer's rows and adds them up.

    Args:
        columns: D.
        outputs: O; 0 for no targets.
        total: how many rows will come.
        centred: about their means.
        device: where products are computed.
    """

    def __init__(
        self, columns: int, outputs: int, total: int, *, centred: bool, device: str = "cpu"
    ) -> None:
        self._wide = columns > total
        self._block = min(BLOCK_ROWS, max(256, BLOCK_BYTES // (4 * max(1, columns))))
        self._waiting: list[tuple[Array, Array | None, Array | None]] = []
        self._count = 0
        self._centred = centred
        self._product: Product = product_on(device)
        self._n = 0.0
        self._pilot: tuple[Matrix, Matrix] | None = None
        self._sum, self._target = np.zeros(columns), np.zeros(outputs)
        self._squares = 0.0
        self._kept: list[tuple[Array, Matrix, Matrix]] = []
        if not self._wide:
            self._h, self._c = np.zeros((columns, columns)), np.zeros((columns, outputs))

    def add(self, rows: Array, targets: Array | None = None, weights: Array | None = None) -> None:
        """Takes rows (n, D), what they should give (n, O), and how much each counts, (n,).

        They are added up in blocks of one size, so that it does not matter in which parts they
        come, to the last bit.
        """
        self._waiting.append((rows, targets, weights))
        self._count += len(rows)
        if self._count < self._block:
            return
        x, y, w = self._taken()
        whole = len(x) - len(x) % self._block
        for start in range(0, whole, self._block):
            part = slice(start, start + self._block)
            self._add(x[part], None if y is None else y[part], None if w is None else w[part])
        rest = slice(whole, None)
        # A copy, as a view would hold all of it.
        self._waiting = [(x[rest].copy(), None if y is None else y[rest].copy(),
                          None if w is None else w[rest].copy())]  # fmt: skip
        self._count = len(x) - whole

    def _taken(self) -> tuple[Array, Array | None, Array | None]:
        """What waits, joined; nothing waits from then on."""
        waiting, self._waiting, self._count = self._waiting, [], 0
        if len(waiting) == 1:
            return waiting[0]
        _, y, w = waiting[0]
        return (
            np.concatenate([rows for rows, _, _ in waiting]),
            None if y is None else np.concatenate([targets for _, targets, _ in waiting]),
            None if w is None else np.concatenate([weights for _, _, weights in waiting]),
        )

    def _add(self, x: Array, y: Array | None, weights: Array | None) -> None:
        n = len(x)
        if not n:
            return
        y = np.zeros((n, self._target.size), x.dtype) if y is None else y
        w = np.ones(n) if weights is None else weights.astype(np.float64)
        if self._pilot is None:
            centre = (x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64))
            self._pilot = centre if self._centred else tuple(map(np.zeros_like, centre))
        assert self._pilot is not None
        if self._wide:
            self._kept.append((x, np.asarray(y, np.float64), w))
        if self._centred:
            x, y = x - self._pilot[0].astype(x.dtype), y - self._pilot[1].astype(y.dtype)
        self._n += float(w.sum())
        self._sum += w @ x
        self._target += w @ y
        self._squares += float(w @ np.square(y, dtype=np.float64).sum(axis=1))
        if self._wide:
            return
        scaled = x if weights is None else x * w[:, None].astype(x.dtype)
        self._h += self._product(scaled if weights is not None else x, x)
        if y.shape[1]:
            self._c += self._product(scaled, np.ascontiguousarray(y))

    def sums(self) -> Sums:
        """All that came; nothing may come afterwards."""
        if self._waiting:
            self._add(*self._taken())
        n = max(self._n, np.finfo(np.float64).tiny)
        shift, shift_y = self._sum / n, self._target / n
        pilot, pilot_y = self._pilot or (np.zeros_like(shift), np.zeros_like(shift_y))
        mean, target = pilot + shift, pilot_y + shift_y
        if not self._centred:
            shift, shift_y = np.zeros_like(shift), np.zeros_like(shift_y)
        energy = 2 * (self._squares / n - float(shift_y @ shift_y))
        if self._wide:
            centre = (mean, target) if self._centred else (shift, shift_y)
            rows = np.concatenate([
                (x - centre[0].astype(x.dtype)) * np.sqrt(w)[:, None].astype(x.dtype)
                for x, _, w in self._kept
            ])  # fmt: skip
            rows[:, np.abs(rows).max(axis=0) <= 4 * np.finfo(np.float32).eps * np.abs(mean)] = 0.0
            targets = np.concatenate([(y - centre[1]) * np.sqrt(w)[:, None]
                                      for _, y, w in self._kept])  # fmt: skip
            return Sums(n, mean, target, None, None, rows, targets, energy)
        h = (self._h / n - np.outer(shift, shift)) * 2
        c = (self._c / n - np.outer(shift, shift_y)) * 2
        # Rounding leaves a hair of what never changes.
        floor = np.finfo(np.float32).eps ** 2 * (np.square(mean) + np.square(shift))
        dead = h.diagonal() <= floor if self._centred else h.diagonal() <= 0
        h[dead], h[:, dead], c[dead] = 0.0, 0.0, 0.0
        return Sums(n, mean, target, h, c, None, None, energy)


def sums_of(
    rows: Array, targets: Array | None = None, *, centred: bool = False, device: str = "cpu"
) -> Sums:
    """Sums of rows that are all there."""
    outputs = 0 if targets is None else targets.shape[1]
    found = Rows(rows.shape[1], outputs, len(rows), centred=centred, device=device)
    found.add(rows, targets)
    return found.sums()


def damped(h: Matrix, lam: float) -> Matrix:
    """H + lambda I."""
    result = h.copy()
    result[np.diag_indices_from(result)] += lam
    return result


def strength(entries: Matrix, damping: float) -> float:
    """Lambda, from the diagonal of H."""
    return damping * float(entries.mean())


def solve(system: Matrix, right: Matrix) -> Matrix:
    """Solves a symmetric system that is positive semidefinite but for rounding.

    By Cholesky; where that breaks down, by the eigenvalues that are above rounding.
    """
    try:
        factor = linalg.cho_factor(system, lower=True, check_finite=False)
        found = linalg.cho_solve(factor, right, check_finite=False)
        if np.isfinite(found).all():
            return np.asarray(found)
    except linalg.LinAlgError:
        pass
    values, vectors = linalg.eigh(system, check_finite=False)
    large = values > values.max(initial=0.0) * len(values) * np.finfo(np.float64).eps * 16
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=large)
    return np.asarray(vectors @ (inverse[:, None] * (vectors.T @ right)))


class InverseHessian:
    """Blocks of Hd^-1.

    With E = lambda I plus 1 for dead inputs, and fewer rows than inputs, Hd^-1 is known through a
    matrix over the rows:

        Hd^-1 = E^-1 - E^-1 X M X^T E^-1     M = ((n/2) I + X^T E^-1 X)^-1

    Args:
        sums: of the input rows.
        damping: lambda as a share of H's mean diagonal.
    """

    def __init__(self, sums: Sums, damping: float) -> None:
        lam = strength(sums.diagonal, damping)
        self._wide = sums.rows is not None
        if sums.rows is None:
            h = damped(sums.hessian(), lam)
            self._inverse = solve(h, np.eye(len(h)))
            return
        x = sums.rows.astype(np.float64)
        dead = ~x.any(axis=0)
        self._scale: Matrix = np.divide(1.0, lam + dead.astype(np.float64))  # E^-1, (D,)
        system = (x * self._scale) @ x.T
        system[np.diag_indices_from(system)] += sums.n / 2
        # With M = L^-T L^-1 the second term is a Gram matrix of these columns, (n, D).
        columns = linalg.solve_triangular(np.linalg.cholesky(system), x, lower=True)
        self._columns: Matrix = np.asarray(columns * self._scale)

    def blocks(self, columns: npt.NDArray[np.int64]) -> Matrix:
        """Hd^-1 over sets of columns: indices (sets, s) -> (sets, s, s)."""
        if not self._wide:
            return np.asarray(self._inverse[columns[:, :, None], columns[:, None, :]])
        part = self._columns[:, columns].transpose(1, 0, 2)  # (sets, n, s)
        blocks: Matrix = np.asarray(np.matmul(part.swapaxes(1, 2), part)) * -1.0
        at = np.arange(columns.shape[1])
        blocks[:, at, at] += self._scale[columns]
        return blocks
