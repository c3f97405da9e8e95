"""The closed form, against least squares written out and against the formula with inverses."""

import numpy as np
import pytest
import torch

from spa.importance.criteria.second_order.obs import obs_scores
from spa.observe.hessian import InverseHessian, damped, gram, hessian, strength
from spa.obspa.update import refit
from tests.obspa.test_rows import one_layer, single

DAMPING = 0.01


def problem(name, seed=0):
    """W (O, D) and rows (n, D) of linear layers and of an unfolded convolution."""
    torch.manual_seed(seed)
    if name == "linear":
        mixing = torch.randn(12, 12)
        return torch.randn(5, 12), torch.randn(200, 12) @ mixing
    if name == "wide":  # fewer rows than columns
        return torch.randn(5, 12), torch.randn(7, 12)
    _, layer, x, weight = one_layer(single("Conv", (3, 4, 6, 6), (5, 4, 3, 3), pads=[1, 1, 1, 1]))
    return layer.blocks(weight)[0], layer.rows(x, 10**6, 0)[0]


def objective(w, target, new, rows, lam):
    error = (target - rows @ new.T).square().sum() * 2 / len(rows)
    return float(error + lam * (w - new).square().sum())


def by_stacking(w, target, rows, kept, lam):
    """argmin over W'_K of (2/n) ||Y - W'_K X_K||^2 + lambda ||W'_K - W_K||^2, by NumPy."""
    scale = np.sqrt(2 / len(rows))
    system = np.concatenate([scale * rows[:, kept], np.sqrt(lam) * np.eye(len(kept))])
    right = np.concatenate([scale * target, np.sqrt(lam) * w[:, kept].T])
    solution, *_ = np.linalg.lstsq(system, right, rcond=None)
    return solution.T


NAMES = ["linear", "conv", "wide"]
SETS = {"one": [3], "several": [0, 4, 5, 11], "kernel": list(range(9)), "most": list(range(1, 11))}


@pytest.mark.parametrize("removed", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["own", "dense"])
def test_the_refit_is_the_best_matrix(name, removed, target):
    w, rows = (t.double() for t in problem(name))
    keep = torch.ones(w.shape[1], dtype=torch.bool)
    keep[removed] = False
    kept = np.flatnonzero(keep.numpy())
    seen_by_dense = rows if target == "own" else rows + 0.3 * torch.randn_like(rows)
    lam = DAMPING * float(hessian(rows).diagonal().mean())
    new = refit(w, rows, seen_by_dense, keep, DAMPING)
    wanted = seen_by_dense @ w.T
    expected = by_stacking(w.numpy(), wanted.numpy(), rows.numpy(), kept, lam)
    np.testing.assert_allclose(new[:, keep].numpy(), expected, rtol=1e-6, atol=1e-8)
    assert not new[:, ~keep].any()
    least = objective(w, wanted, new, rows, lam)
    for _ in range(5):
        other = new + 1e-2 * torch.randn_like(new) * keep
        assert objective(w, wanted, other, rows, lam) > least


@pytest.mark.parametrize("removed", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", NAMES)
def test_the_solve_equals_the_formula_with_inverses(name, removed):
    w, rows = (t.double() for t in problem(name))
    keep = torch.ones(w.shape[1], dtype=torch.bool)
    keep[removed] = False
    h = hessian(rows)
    inverse = torch.linalg.inv(damped(h, strength(h.diagonal(), DAMPING)))
    part = torch.linalg.inv(inverse[removed][:, removed])
    expected = w - w[:, removed] @ part @ inverse[removed]
    np.testing.assert_allclose(refit(w, rows, rows, keep, DAMPING), expected, rtol=1e-7, atol=1e-9)


def uncorrelated(n, size):
    """Rows with H = I."""
    torch.manual_seed(1)
    orthogonal, _ = torch.linalg.qr(torch.randn(n, size, dtype=torch.float64))
    return orthogonal * np.sqrt(n / 2)


def test_uncorrelated_inputs_leave_the_kept_weights_alone():
    w, rows = problem("linear")[0].double(), uncorrelated(40, 12)
    keep = torch.ones(12, dtype=torch.bool)
    keep[[2, 3, 7]] = False
    np.testing.assert_allclose(hessian(rows), np.eye(12), atol=1e-12)
    np.testing.assert_allclose(refit(w, rows, rows, keep, DAMPING), w * keep, atol=1e-12)


def test_uncorrelated_inputs_score_the_squared_norm():
    w, rows = problem("linear")[0], uncorrelated(40, 12)
    owners = np.array([0, 0, 1, 1, 1, -1, 2, 2, 2, 3, -1, 0])
    scores = obs_scores(w, InverseHessian(rows, 1e-12), owners)
    norms = [float(w[:, owners == channel].square().sum()) for channel in range(4)]
    np.testing.assert_allclose(scores, norms, rtol=1e-6)


@pytest.mark.parametrize("n", [7, 200])
def test_blocks_of_the_inverse(n):
    rows = torch.randn(n, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rows[:, 4] = 0.0
    h = hessian(rows)
    expected = torch.linalg.inv(damped(h, strength(h.diagonal(), DAMPING)))
    sets = torch.tensor([[0, 4, 7], [11, 3, 4]])
    for columns, block in zip(sets, InverseHessian(rows, DAMPING).blocks(sets), strict=True):
        np.testing.assert_allclose(block, expected[columns][:, columns], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_what_the_best_matrix_still_loses(name):
    w, rows = (t.double() for t in problem(name))
    size = 9 if name == "conv" else 2
    owners = np.repeat(np.arange(w.shape[1] // size), size)
    h = hessian(rows)
    scores = obs_scores(w, InverseHessian(rows, DAMPING), owners)
    for channel, score in enumerate(scores):
        keep = torch.from_numpy(owners != channel)
        new = refit(w, rows, rows, keep, DAMPING)
        loss = objective(w, rows @ w.T, new, rows, strength(h.diagonal(), DAMPING))
        assert score == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("name", ["linear", "wide"])
@pytest.mark.parametrize("target", ["own", "dense"])
def test_dead_inputs_count_as_one_and_keep_their_weights(name, target):
    w, rows = problem(name)
    dense = rows.clone() if target == "dense" else rows
    rows[:, [1, 6]] = 0.0  # alive in the dense model only
    h = hessian(rows)
    assert h[1, 1] == h[6, 6] == 1.0
    keep = torch.ones(12, dtype=torch.bool)
    keep[[0, 6]] = False
    new = refit(w, rows, dense, keep, DAMPING)
    assert torch.equal(new[:, 1], w[:, 1])
    assert not new[:, 6].any()


def test_blocks_of_rows_add_up():
    rows = torch.randn(20_000, 5, generator=torch.Generator().manual_seed(0))
    expected = 2 / 20_000 * rows.double().T @ rows.double()
    np.testing.assert_allclose(gram(rows, rows), expected, rtol=1e-5, atol=1e-6)
