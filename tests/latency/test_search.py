"""Widths for a latency: against every choice there is, on times that rise and fall."""

import itertools

import numpy as np
import pytest

from spa.latency.search import STEPS, cheapest, knapsack


class Groups:
    """Some groups of channels with losses, in place of an `Order`."""

    def __init__(self, widths, losses):
        self.widths, self._losses = widths, losses

    def losses(self):
        return self._losses

    def feasible(self, number):
        return list(range(self.widths[number]))

    @property
    def size(self):
        return sum(width - 1 for width in self.widths)

    def counts(self, length):
        """Every group loses alike."""
        share = length / self.size
        return [int(share * (width - 1)) for width in self.widths]


@pytest.mark.parametrize("seed", range(40))
def test_the_knapsack_takes_the_best_of_all_choices(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 4)
    losses = [rng.random(n) for n in sizes]
    changes = [rng.normal(size=n) for n in sizes]
    budget = float(rng.normal())
    every = [
        (sum(loss[k] for loss, k in zip(losses, picks, strict=True)), picks)
        for picks in itertools.product(*map(range, sizes))
        if sum(change[k] for change, k in zip(changes, picks, strict=True)) <= budget
    ]
    taken = knapsack(losses, changes, budget)
    time = sum(change[k] for change, k in zip(changes, taken, strict=True))
    if not every:
        assert time == pytest.approx(sum(change.min() for change in changes))
        return
    assert time <= budget + 1e-9
    lost = sum(loss[k] for loss, k in zip(losses, taken, strict=True))
    # Times are rounded up to steps, so a choice within a step of each group may be missed.
    slack = len(sizes) * sum(np.ptp(change) for change in changes) / STEPS
    near = [
        loss
        for loss, picks in every
        if sum(c[k] for c, k in zip(changes, picks, strict=True)) <= budget - slack
    ]
    assert min(every)[0] - 1e-12 <= lost <= min(near, default=np.inf) + 1e-12


def planted(seed, chain=4):
    """A chain: a layer takes time by two widths, and those of no multiple of 4 are slow."""
    rng = np.random.default_rng(seed)
    widths = rng.integers(5, 9, chain).tolist()
    losses = [np.concatenate([[0], np.cumsum(np.sort(rng.random(w - 1)))]) for w in widths]
    speed = rng.uniform(0.5, 2, chain + 1)

    def predict(counts):
        left = [3, *(w - n for w, n in zip(widths, counts, strict=True)), 10]
        slow = [1.4 if n % 4 else 1.0 for n in left]
        return float(
            sum(v * a * b * s for v, a, b, s in zip(speed, left, left[1:], slow[1:], strict=False))
        )

    return Groups(widths, losses), losses, predict


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("share", [0.35, 0.6])
def test_a_chain_comes_near_the_best_of_all_choices(seed, share):
    groups, losses, predict = planted(seed)
    budget = predict([0] * 4) * share
    counts, fits = cheapest(groups, predict, budget)
    assert fits
    assert predict(counts) <= budget
    best = min(
        sum(loss[n] for loss, n in zip(losses, each, strict=True))
        for each in itertools.product(*(groups.feasible(i) for i in range(4)))
        if predict(each) <= budget
    )
    lost = sum(loss[n] for loss, n in zip(losses, counts, strict=True))
    assert best - 1e-12 <= lost <= best * 1.25 + 0.1


def test_what_cannot_be_reached_gives_the_fastest():
    groups, _, predict = planted(0)
    counts, fits = cheapest(groups, predict, 0.5)
    assert not fits
    every = itertools.product(*(groups.feasible(i) for i in range(4)))
    assert predict(counts) <= 1.05 * min(predict(each) for each in every)
