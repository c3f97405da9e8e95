"""From equalities to sets of coupled channels: connected components, and the choices left open.

Most operators state plain equalities between labels. Some can shrink in more than one way: a
reshaped tensor whose one layer follows two axes may lose whole rows or whole columns; a grouped
convolution may lose the same index in every group, or whole groups. Such a *choice* is held back
until the components of everything else are known; then the alternative that leaves more sets of
coupled channels wins (the first one listed where they tie), in topological order.

Nearly all equalities join one whole axis with another. They are solved first, axis by axis; what is
left is solved label by label, on one axis of each set that was joined (`spa.coupling.places`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.coupling.connect import distinct, lowest, numbered
from spa.coupling.labels import KEPT, Labels
from spa.coupling.places import Pieces, Places, Stretch

Mask = npt.NDArray[np.bool_]
# Two arrays of labels of one length, equal element by element.
Pairs = tuple[Labels, Labels]


@dataclass(frozen=True)
class Alternative:
    """One way in which an operator can shrink.

    Attributes:
        name: what shrinks.
        pairs: the equalities that it needs.
    """

    name: str
    pairs: tuple[Pairs, ...]


@dataclass(frozen=True)
class Choice:
    """The ways in which one node can shrink.

    Attributes:
        alternatives: in order of preference where they tie.
        preferred: positions of alternatives that the user prefers; such choices are settled before
            all others, and by the others' rule only where none of these leaves anything to prune.
    """

    alternatives: tuple[Alternative, ...]
    preferred: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Components:
    """The outcome.

    Attributes:
        of: component of every label, shape (labels,); numbered by their lowest labels.
        kept: whether a component stays, shape (components,).
        pieces: `of` by runs of labels; what is kept is apart from what is not.
    """

    of: Labels
    kept: Mask
    pieces: Pieces


def solve(
    sizes: Sequence[int],
    stretches: Sequence[Stretch],
    equalities: Sequence[Pairs],
    kept_labels: Labels,
    choices: Sequence[Choice],
) -> Components:
    """Solves all equalities, then the choices one after another, to a fixed point.

    Choices that touch different components are settled in one round, so that the number of rounds
    follows the longest chain of choices that depend on each other, not their number.

    Args:
        sizes: number of labels of every axis, in order of label; the first label is 1.
        stretches: equalities of runs of labels.
        equalities: all others.
        kept_labels: labels that stay.
        choices: the choices.
    """
    places = Places(sizes, stretches)
    of = np.arange(places.count)
    kept = np.zeros(places.count, dtype=bool)
    kept[KEPT] = True
    kept[places.of[kept_labels]] = True
    pairs = [places.left, *((places.of[a], places.of[b]) for a, b in equalities)]
    pending = [choice for choice in choices if choice.preferred is not None]
    later = [choice for choice in choices if choice.preferred is None]
    while True:
        number, kept = _connect(pairs, kept)
        of = number[of]
        if not pending:
            if not later:
                return Components(of[places.of], kept, places.pieces(of, kept))
            pending, later = later, []
        pending, pairs = _settle(pending, of[places.of], kept)


def _connect(pairs: Sequence[Pairs], kept: Mask) -> tuple[Labels, Mask]:
    """Joins components.

    Args:
        pairs: components that are equal.
        kept: whether a component stays.

    Returns:
        The new component of every old one, and whether the new ones stay.
    """
    if not pairs:
        return np.arange(kept.size), kept
    a, b = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
    free = (a != KEPT) & (b != KEPT)
    kept = kept.copy()
    kept[a[~free]] = kept[b[~free]] = True
    number = numbered(lowest(kept.size, a[free], b[free]))
    joined = np.zeros(int(number.max()) + 1, dtype=bool)
    joined[number[kept]] = True
    return number, joined


def _settle(pending: Sequence[Choice], of: Labels, kept: Mask) -> tuple[list[Choice], list[Pairs]]:
    """Settles the choices that touch different components.

    Returns:
        The choices that must wait, and the components that are equal by those that need not.
    """
    blocked = np.zeros(kept.size, dtype=bool)
    waiting = []
    pairs: list[Pairs] = []
    for choice in pending:
        local = [
            [(of[a], of[b]) for a, b in alternative.pairs] for alternative in choice.alternatives
        ]
        touched = distinct(np.concatenate([x for alt in local for pair in alt for x in pair]))
        # Kept components never change, so they order nothing.
        free = touched[~kept[touched]]
        if blocked[free].any():
            waiting.append(choice)
            blocked[free] = True
            continue
        counts = [_count(alternative, touched, kept) for alternative in local]
        allowed = [i for i in choice.preferred or () if counts[i] > 0] or range(len(local))
        best = max(allowed, key=lambda i: (counts[i], -i))
        if any(not np.array_equal(a, b) for a, b in local[best]):
            pairs.extend(local[best])
            blocked[free] = True
    return waiting, pairs


def _count(pairs: Sequence[Pairs], touched: Labels, kept: Mask) -> int:
    """Number of prunable components among ``touched`` if ``pairs`` held too."""
    stays = kept[touched]
    if not pairs:
        return int((~stays).sum())
    a, b = (np.searchsorted(touched, np.concatenate([pair[k] for pair in pairs])) for k in (0, 1))
    root = lowest(touched.size, a, b)
    free = root == np.arange(touched.size)
    free[root[stays]] = False
    return int(free.sum())
