"""Widths for a latency: what is lost least by the scores, among all that are fast enough.

The time of a layer depends on two widths at least, and may rise as one falls. So widths are moved
in rounds: with all others as they are, each group's time at each of its widths is told, the moves
that lose least within the budget are found (a knapsack that takes one width of every group, by
dynamic programming), and what they come to together is looked at again. How far a group may move in
one round shrinks where that was told badly.

Source: own; one width of every group under a latency as a knapsack after HALP (Shen et al. 2022,
3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from spa.selection.order import Order

Floats = npt.NDArray[np.float64]
Counts = list[int]
Predict = Callable[[Counts], float]

# Steps that the budget is counted in, rounds, and the share of a group that may move in the first.
STEPS = 2000
ROUNDS = 16
FIRST_MOVE, LEAST_MOVE = 0.5, 0.01
# Widths of a group that are looked at, at most; multiples of these come first.
WIDTHS = 33
LIKED = (32, 16, 8, 4, 2, 1)


def cheapest(order: Order, predict: Predict, budget: float) -> tuple[Counts, bool]:
    """Numbers of channels that go of every group.

    Args:
        order: the channels that may go, with what is lost by them.
        predict: milliseconds by those numbers.
        budget: milliseconds that there are.

    Returns:
        The numbers, and True; or those of the fastest found, and False.
    """
    losses = order.losses()
    choices = [_choices(order.feasible(i), width) for i, width in enumerate(order.widths)]
    here = _start(order, predict, budget)
    now = predict(here)
    best, fastest = (here if now <= budget else None), (now, here)
    share = FIRST_MOVE
    for _ in range(ROUNDS):
        moves = [
            [n for n in options if abs(n - here[i]) <= max(1, share * order.widths[i])] or [here[i]]
            for i, options in enumerate(choices)
        ]
        changes = [
            np.array([predict(_with(here, i, n)) - now if n != here[i] else 0.0 for n in options])
            for i, options in enumerate(moves)
        ]
        taken = knapsack([losses[i][options] for i, options in enumerate(moves)], changes,
                         budget - now)  # fmt: skip
        there = [options[k] for options, k in zip(moves, taken, strict=True)]
        then = predict(there)
        told = now + sum(change[k] for change, k in zip(changes, taken, strict=True))
        fastest = min(fastest, (then, there))
        if then <= budget and (best is None or _lost(losses, there) < _lost(losses, best)):
            best = there
        if there == here or share < LEAST_MOVE:
            break
        # Moves that hold together are gone on from; others are tried smaller, from the best.
        if then <= budget or now > budget >= told or then < now:
            here, now = there, then
        elif best is not None:
            here, now = best, predict(best)
        share *= 0.6
    return (best, True) if best is not None else (fastest[1], False)


def knapsack(losses: Sequence[Floats], changes: Sequence[Floats], budget: float) -> list[int]:
    """One choice of each, so that the losses are least and the changes within a budget.

    Args:
        losses: of every choice, for each group.
        changes: what each adds to the time; may be negative.
        budget: what all may add together; may be negative.

    Returns:
        The index of each group's choice; of the fastest where the budget is too small for any.
    """
    quickest = [float(each.min()) for each in changes]
    room = budget - sum(quickest)
    if room <= 0:
        pairs = zip(losses, changes, strict=True)
        return [int(np.lexsort((loss, change))[0]) for loss, change in pairs]
    if room >= sum(float(np.ptp(each)) for each in changes):  # everything fits
        return [int(loss.argmin()) for loss in losses]
    unit = room / STEPS
    # least[b]: the smallest loss of the groups so far within b steps.
    least = np.zeros(STEPS + 1)
    picks = []
    for loss, change, quick in zip(losses, changes, quickest, strict=True):
        # Rounded up, so that what fits in steps fits.
        weights = np.ceil((change - quick) / unit - 1e-9).astype(np.int64)
        table = np.full((len(loss), STEPS + 1), np.inf)
        for k, (lost, weight) in enumerate(zip(loss, weights, strict=True)):
            if weight <= STEPS:
                table[k, weight:] = least[: STEPS + 1 - weight] + lost
        picks.append((table.argmin(axis=0), weights))
        least = table.min(axis=0)
    left, taken = STEPS, []
    for pick, weights in reversed(picks):
        k = int(pick[left])
        taken.append(k)
        left -= int(weights[k])
    return taken[::-1]


def _start(order: Order, predict: Predict, budget: float) -> Counts:
    """The first prefix of the order that is fast enough, or the fastest of those looked at."""
    lengths = sorted({round(order.size * k / 32) for k in range(33)})
    tried = [(predict(order.counts(length)), order.counts(length)) for length in lengths]
    return next((counts for time, counts in tried if time <= budget), min(tried)[1])


def _choices(feasible: Sequence[int], width: int) -> list[int]:
    """Some of a group's numbers, those that leave round widths first."""
    for step in reversed(LIKED):
        found = [n for n in feasible if (width - n) % step == 0 or n == 0]
        if len(found) <= WIDTHS:
            break
    return sorted({*found, feasible[0], feasible[-1]})


def _with(counts: Counts, group: int, number: int) -> Counts:
    return [*counts[:group], number, *counts[group + 1 :]]


def _lost(losses: Sequence[Floats], counts: Counts) -> float:
    return float(sum(loss[n] for loss, n in zip(losses, counts, strict=True)))
