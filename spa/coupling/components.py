"""From equalities to sets of coupled channels: connected components, and the choices left open.

Most operators state plain equalities between labels. Some can shrink in more than one way: a
reshaped tensor whose one layer follows two axes may lose whole rows or whole columns; a grouped
convolution may lose the same index in every group, or whole groups. Such a *choice* is held back
until the components of everything else are known; then the alternative that leaves more sets of
coupled channels wins (the first one listed where they tie), in topological order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spa.coupling.labels import KEPT, Labels

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
        of: component of every label, shape (labels,).
        kept: whether a component stays, shape (components,).
    """

    of: Labels
    kept: np.ndarray[tuple[int], np.dtype[np.bool_]]


def solve(
    total: int, equalities: Sequence[Pairs], kept_labels: Labels, choices: Sequence[Choice]
) -> Components:
    """Solves all equalities, then the choices one after another, to a fixed point.

    Choices that touch different components are settled in one round, so that the number of rounds
    follows the longest chain of choices that depend on each other, not their number.
    """
    pairs = list(equalities)
    pending = [choice for choice in choices if choice.preferred is not None]
    later = [choice for choice in choices if choice.preferred is None]
    while True:
        of, kept = _connect(total, pairs, kept_labels)
        if not pending:
            if not later:
                return Components(of, kept)
            pending, later = later, []
        pending = _settle(pending, of, kept, pairs)


def _settle(
    pending: Sequence[Choice],
    of: Labels,
    kept: np.ndarray[tuple[int], np.dtype[np.bool_]],
    pairs: list[Pairs],
) -> list[Choice]:
    """Settles the choices that touch different components; returns those that must wait."""
    blocked = np.zeros(kept.size, dtype=bool)
    waiting = []
    for choice in pending:
        local = [
            [(of[a], of[b]) for a, b in alternative.pairs] for alternative in choice.alternatives
        ]
        touched = np.unique(np.concatenate([x for alt in local for pair in alt for x in pair]))
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
            pairs.extend(choice.alternatives[best].pairs)
            blocked[free] = True
    return waiting


def _connect(
    total: int, pairs: Sequence[Pairs], kept_labels: Labels
) -> tuple[Labels, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    if pairs:
        a = np.concatenate([p[0] for p in pairs])
        b = np.concatenate([p[1] for p in pairs])
        free = (a != KEPT) & (b != KEPT)
        with_kept = np.concatenate([a[~free], b[~free], kept_labels])
        a, b = a[free], b[free]
    else:
        a = b = np.zeros(0, dtype=np.int64)
        with_kept = kept_labels
    links = coo_array((np.ones(a.size, dtype=np.int8), (a, b)), shape=(total, total))
    count, of = connected_components(links, directed=False)
    kept = np.zeros(count, dtype=bool)
    kept[of[with_kept]] = True
    kept[of[KEPT]] = True
    return of.astype(np.int64), kept


def _count(
    pairs: Sequence[Pairs], touched: Labels, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> int:
    """Number of prunable components among ``touched`` if ``pairs`` held too."""
    if not pairs:
        return int((~kept[touched]).sum())
    a = np.searchsorted(touched, np.concatenate([p[0] for p in pairs]))
    b = np.searchsorted(touched, np.concatenate([p[1] for p in pairs]))
    links = coo_array((np.ones(a.size, dtype=np.int8), (a, b)), shape=(touched.size,) * 2)
    count, of = connected_components(links, directed=False)
    stays = np.zeros(count, dtype=bool)
    stays[of[kept[touched]]] = True
    return int((~stays).sum())
