"""FPGM: how far a channel lies from the others of its group; what lies in the middle goes.

The sum of Euclidean distances to all other channels, of the weights themselves (Torch-Pruning 1.6
takes distances of squared weights). A channel of a coupled set is all of its slices in a row: rows
of producers, columns of consumers, scales of norms, each member divided by the root mean square
norm of its slices, so that a layer with larger numbers does not decide alone. Biases and shifts do
not count.

Memory: `BLOCK` rows of the group's table of distances in float64, and one member's weights.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.groups import Group, Member
from spa.importance.criterion import NoOptions, criterion
from spa.importance.shifts import without_shifts
from spa.importance.values import Channels, Values
from spa.importance.view import View

BLOCK = 2048


@criterion(
    source="He et al. 2019, Filter Pruning via Geometric Median, 3.2, eq. 6; of coupled sets: own"
)
def fpgm(view: View, how: NoOptions) -> Channels:
    """Scores channels by their summed distances; what has no weights gets no score."""
    model, picked = view.model, without_shifts(view.model)
    counted = frozenset(model.counted_parameters)
    result = np.full(view.groups.coupling.components.kept.size, np.nan)
    for group in view.groups.groups:
        members = [
            m for m in group.members
            if m.name in counted and picked(group, m)
            and not (m.axis.uses and model.statistic_reads.issuperset(m.axis.uses))
        ]  # fmt: skip
        if members:
            result[group.components] = _summed(view, group, members)
    return Channels(result)


def _summed(view: View, group: Group, members: list[Member]) -> Values:
    """Sums of distances, shape (channels,)."""
    total = np.zeros(group.channels)
    for start in range(0, group.channels, BLOCK):
        squares = np.zeros((min(BLOCK, group.channels - start), group.channels))
        for member in members:
            rows = _slices(view, member)
            norms = np.square(rows).sum(axis=1)
            part = slice(start, start + len(squares))
            if norms.any():
                # |a - b|^2 = |a|^2 + |b|^2 - 2 ab
                apart = norms[part, None] + norms - 2 * (rows[part] @ rows.T)
                squares += apart / norms.mean()
        own = np.arange(len(squares))
        squares[own, start + own] = 0.0  # and not what rounding leaves
        total[start : start + len(squares)] = np.sqrt(squares.clip(min=0.0)).sum(axis=1)
    return total


def _slices(view: View, member: Member) -> Values:
    """A member's slices, shape (channels, elements)."""
    array = np.moveaxis(view.model.numbers(member.name).astype(np.float64), member.axis.axis, 0)
    return np.asarray(array[member.indices].reshape(len(member.indices), -1))
