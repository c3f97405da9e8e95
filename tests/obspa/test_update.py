"""The closed form, against least squares written out and against the formula with inverses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spa.importance.criteria.second_order.obs import obs_scores
from spa.observe.gram import InverseHessian, Rows, damped, strength, sums_of
from spa.observe.rows import all_rows
from spa.obspa.ridge import by_holding_out, shrinkage
from spa.obspa.update import refit
from tests.obspa.test_rows import one_layer, single

DAMPING = 0.01


def problem(name, seed=0):
    """W (O, D) and rows (n, D) of linear layers and of an unfolded convolution, in float64."""
    rng = np.random.default_rng(seed)
    if name == "linear":
        mixing = rng.standard_normal((12, 12))
        return rng.standard_normal((5, 12)), rng.standard_normal((200, 12)) @ mixing + 0.5
    if name == "wide":  # fewer rows than columns
        return rng.standard_normal((5, 12)), rng.standard_normal((7, 12)) + 0.5
    _, layer, x, weight = one_layer(single("Conv", (3, 4, 6, 6), (5, 4, 3, 3), pads=[1, 1, 1, 1]))
    rows = all_rows(layer, x.astype(np.float64), 10**6, 0)[0]
    return layer.blocks(weight.astype(np.float64))[0], rows


def without(size, removed):
    keep = np.ones(size, dtype=bool)
    keep[removed] = False
    return keep


def hessian(rows):
    return sums_of(rows).hessian()


def objective(w, target, new, rows, lam, shift=0.0):
    error = np.square(target - rows @ new.T - shift).sum() * 2 / len(rows)
    return float(error + lam * np.square(w - new).sum())


def by_stacking(w, target, rows, kept, lam, intercept):
    """Least of (2/n) ||Y - W'_K X_K - b||^2 + lambda ||W'_K - W_K||^2, by NumPy."""
    scale = np.sqrt(2 / len(rows))
    ones = np.full((len(rows), 1), scale * intercept)
    system = np.block([
        [scale * rows[:, kept], ones],
        [np.sqrt(lam) * np.eye(len(kept)), np.zeros((len(kept), 1))],
    ])  # fmt: skip
    right = np.concatenate([scale * target, np.sqrt(lam) * w[:, kept].T])
    solution, *_ = np.linalg.lstsq(system, right, rcond=None)
    return solution[:-1].T, solution[-1]


NAMES = ["linear", "conv", "wide"]
SETS = {"one": [3], "several": [0, 4, 5, 11], "kernel": list(range(9)), "most": list(range(1, 11))}


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("removed", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["own", "dense"])
def test_the_refit_is_the_best_matrix(name, removed, target, intercept):
    w, rows = problem(name)
    rng = np.random.default_rng(1)
    keep = without(w.shape[1], removed)
    kept = np.flatnonzero(keep)
    by_dense = rows + (0.3 * rng.standard_normal(rows.shape) if target == "dense" else 0.0)
    wanted = by_dense @ w.T
    sums = sums_of(rows, None if target == "own" else wanted, centred=intercept)
    lam = strength(sums.diagonal, DAMPING)
    fit = refit(w, sums, keep, lam, intercept=intercept)
    expected, shift = by_stacking(w, wanted, rows, kept, lam, intercept)
    np.testing.assert_allclose(fit.weight[:, keep], expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.shift, shift, rtol=1e-6, atol=1e-8)
    assert not fit.weight[:, ~keep].any()
    least = objective(w, wanted, fit.weight, rows, lam, fit.shift)
    for _ in range(5):
        other = fit.weight + 1e-2 * rng.standard_normal(w.shape) * keep
        assert objective(w, wanted, other, rows, lam, fit.shift) > least


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_refit_is_that_of_scikit_learn(name, intercept):
    """What is missing without the columns is a ridge regression on those that stay."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    w, rows = problem(name)
    keep = without(w.shape[1], SETS["several"])
    sums = sums_of(rows, centred=intercept)
    lam = strength(sums.diagonal, DAMPING)
    fit = refit(w, sums, keep, lam, intercept=intercept)
    ridge = linear_model.Ridge(alpha=lam * len(rows) / 2, fit_intercept=intercept)
    ridge.fit(rows[:, keep], rows @ w.T - rows[:, keep] @ w[:, keep].T)
    np.testing.assert_allclose(fit.weight[:, keep], w[:, keep] + ridge.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit.shift, ridge.intercept_, atol=1e-8)


@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), size=st.integers(2, 20),
    intercept=st.booleans(), damping=st.sampled_from([1e-9, 1e-4, 0.01, 1.0, 100.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_no_layer_loses_more_than_by_plain_removal(seed, n, size, intercept, damping, dtype):
    """In the output's squared error on the calibration rows."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-2, 3, size)
    rows = (rng.standard_normal((n, size)) * scales + rng.standard_normal(size)).astype(dtype)
    rows[:, rng.random(size) < 0.2] = 0.0
    w = rng.standard_normal((3, size)).astype(dtype)
    keep = rng.random(size) < 0.6
    keep[rng.integers(size)] = True
    sums = sums_of(rows, centred=intercept)
    fit = refit(w, sums, keep, strength(sums.diagonal, damping), intercept=intercept)
    x, wanted = rows.astype(np.float64), rows.astype(np.float64) @ w.astype(np.float64).T
    plain = np.square(wanted - x @ (w * keep).T.astype(np.float64)).sum()
    ours = np.square(wanted - x @ fit.weight.T.astype(np.float64) - fit.shift).sum()
    # What float32 weights and rows can resolve of outputs of this size.
    slack = (1e-5 if dtype == np.float32 else 1e-10) * np.square(wanted).sum()
    assert ours <= plain + slack


@pytest.mark.parametrize("intercept", [False, True])
def test_a_redundant_channel_costs_nothing_as_the_ridge_goes_to_zero(intercept):
    w, rows = problem("linear")
    rows[:, 3] = 2 * rows[:, 5] - rows[:, 8] + (1.0 if intercept else 0.0)
    keep = without(12, [3])
    sums = sums_of(rows, centred=intercept)
    errors = []
    for damping in (1e-2, 1e-4, 1e-6, 1e-8, 0.0):
        fit = refit(w, sums, keep, strength(sums.diagonal, damping), intercept=intercept)
        errors.append(np.square(rows @ w.T - rows @ fit.weight.T - fit.shift).mean())
    assert all(b <= a + 1e-15 for a, b in zip(errors, errors[1:], strict=False))
    assert errors[0] > 1e-9
    assert errors[-1] < 1e-12


@pytest.mark.parametrize("removed", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", NAMES)
def test_the_solve_equals_the_formula_with_inverses(name, removed):
    w, rows = problem(name)
    keep = without(w.shape[1], removed)
    h = hessian(rows)
    inverse = np.linalg.inv(damped(h, strength(h.diagonal(), DAMPING)))
    part = np.linalg.inv(inverse[np.ix_(removed, removed)])
    expected = w - w[:, removed] @ part @ inverse[removed]
    lam = strength(h.diagonal(), DAMPING)
    fit = refit(w, sums_of(rows), keep, lam, intercept=False)
    np.testing.assert_allclose(fit.weight, expected, rtol=1e-7, atol=1e-9)


def uncorrelated(n, size):
    """Rows with H = I."""
    orthogonal, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((n, size)))
    return orthogonal * np.sqrt(n / 2)


def test_uncorrelated_inputs_leave_the_kept_weights_alone():
    w, rows = problem("linear")[0], uncorrelated(40, 12)
    keep = without(12, [2, 3, 7])
    np.testing.assert_allclose(hessian(rows), np.eye(12), atol=1e-12)
    fit = refit(w, sums_of(rows), keep, DAMPING, intercept=False)
    np.testing.assert_allclose(fit.weight, w * keep, atol=1e-12)


def test_uncorrelated_inputs_score_the_squared_norm():
    w, rows = problem("linear")[0], uncorrelated(40, 12)
    owners = np.array([0, 0, 1, 1, 1, -1, 2, 2, 2, 3, -1, 0])
    scores = obs_scores(w, InverseHessian(sums_of(rows), 1e-12), owners)
    norms = [float(np.square(w[:, owners == channel]).sum()) for channel in range(4)]
    np.testing.assert_allclose(scores, norms, rtol=1e-6)


@pytest.mark.parametrize("n", [7, 200])
def test_blocks_of_the_inverse(n):
    rows = np.random.default_rng(2).standard_normal((n, 12))
    rows[:, 4] = 0.0
    h = hessian(rows)
    expected = np.linalg.inv(damped(h, strength(h.diagonal(), DAMPING)))
    sets = np.array([[0, 4, 7], [11, 3, 4]])
    found = InverseHessian(sums_of(rows), DAMPING).blocks(sets)
    for columns, block in zip(sets, found, strict=True):
        np.testing.assert_allclose(block, expected[np.ix_(columns, columns)], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_what_the_best_matrix_still_loses(name):
    w, rows = problem(name)
    size = 9 if name == "conv" else 2
    owners = np.repeat(np.arange(w.shape[1] // size), size)
    sums = sums_of(rows)
    lam = strength(sums.diagonal, DAMPING)
    scores = obs_scores(w, InverseHessian(sums, DAMPING), owners)
    for channel, score in enumerate(scores):
        fit = refit(w, sums, owners != channel, lam, intercept=False)
        assert score == pytest.approx(objective(w, rows @ w.T, fit.weight, rows, lam), rel=1e-6)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("name", ["linear", "wide"])
@pytest.mark.parametrize("target", ["own", "dense"])
def test_dead_inputs_count_as_one_and_keep_their_weights(name, target, intercept):
    w, dense = problem(name)
    rows = dense.copy()
    rows[:, [1, 6]] = 0.7 if intercept else 0.0  # they change in the dense model only
    sums = sums_of(rows, dense @ w.T if target == "dense" else None, centred=intercept)
    assert sums.hessian()[1, 1] == sums.hessian()[6, 6] == 1.0
    lam = strength(sums.diagonal, DAMPING)
    fit = refit(w, sums, without(12, [0, 6]), lam, intercept=intercept)
    np.testing.assert_array_equal(fit.weight[:, 1], w[:, 1])
    assert not fit.weight[:, 6].any()


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("n", [6, 20_000])
def test_rows_in_parts_add_up(n, centred):
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((n, 8)) + 3).astype(np.float32)
    targets = (rows @ rng.standard_normal((8, 2)) + 1).astype(np.float32)
    weights = rng.uniform(0.5, 2.0, n)
    into = Rows(8, 2, n, centred=centred)
    for part in np.array_split(np.arange(n), 3):
        into.add(rows[part], targets[part], weights[part])
    sums = into.sums()
    x, y = rows.astype(np.float64), targets.astype(np.float64)
    mean, target = np.average(x, 0, weights), np.average(y, 0, weights)
    np.testing.assert_allclose(sums.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(sums.target, target, rtol=1e-5)
    if centred:
        x, y = x - mean, y - target
    share = 2 * weights / weights.sum()
    np.testing.assert_allclose(sums.hessian(), (x.T * share) @ x, rtol=1e-4, atol=1e-4)
    assert sums.energy == pytest.approx(float(share @ np.square(y).sum(axis=1)), rel=1e-4)
    if sums.c is not None:
        np.testing.assert_allclose(sums.c, (x.T * share) @ y, rtol=1e-4, atol=1e-4)


def test_parts_of_any_size_give_the_same_bits():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((30_000, 5)).astype(np.float32)
    found = []
    for cuts in ([], [1, 7, 9000, 20_001], list(range(0, 30_000, 331))):
        into = Rows(5, 0, len(rows), centred=True)
        for part in np.split(rows, cuts):
            into.add(part)
        found.append(into.sums())
    for other in found[1:]:
        assert np.array_equal(other.h, found[0].h)
        assert np.array_equal(other.mean, found[0].mean)


def test_a_small_variance_beside_a_large_mean_is_not_lost():
    rng = np.random.default_rng(0)
    rows = (1000 + 0.01 * rng.standard_normal((5000, 3))).astype(np.float32)
    found = sums_of(rows, centred=True).hessian()
    expected = 2 * np.cov(rows.astype(np.float64).T, bias=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


# --- the ridge ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 50, 5000])
def test_shrinkage_is_that_of_scikit_learn(n):
    covariance = pytest.importorskip("sklearn.covariance")
    rng = np.random.default_rng(n)
    rows = rng.standard_normal((n, 12)) @ rng.standard_normal((12, 12))
    _, expected = covariance.oas(rows)
    assert shrinkage(np.cov(rows.T, bias=True), n) == pytest.approx(expected, rel=1e-9)


def test_held_out_rows_ask_for_more_ridge_the_fewer_rows_there_are():
    rng = np.random.default_rng(0)
    size, chosen = 30, []
    w = rng.standard_normal((4, size))
    mixing = rng.standard_normal((20, size))  # so others can stand in for what goes
    keep = without(size, range(12))
    for n in (60, 20_000):
        rows = rng.standard_normal((n, 20)) @ mixing + 0.1 * rng.standard_normal((n, size))
        noise = 30 * rng.standard_normal((n, 4))  # what the inputs cannot explain
        targets = rows @ w.T + noise
        half = n // 2
        fitted, held = (
            sums_of(rows[part], targets[part], centred=True)
            for part in (slice(half), slice(half, None))
        )
        chosen.append(by_holding_out(w, fitted, held, keep, intercept=True))
    assert chosen[0] > chosen[1]
