"""From equalities to sets of coupled channels: connected components, and the choices left open.

Most operators state plain equalities between labels. Some can shrink in more than one way: a
reshaped tensor whose one layer follows two axes may lose whole rows or whole columns; a grouped
convolution may lose the same index in every group, or whole groups. Such a *choice* is held back
until the components of everything else are known; then the alternative that leaves more sets of
coupled channels wins (the first one listed where they tie), in topological order.

What is *picked* of a tensor (one kernel of a table of kernels, one head of several) must not go
whole. Where its labels all fall into one component, that stays, and an alternative by which they
would leaves fewer (`spa.coupling.picks`).

Nearly all equalities join one whole axis with another. They are solved first, axis by axis; what is
left is solved label by label, on one axis of each set that was joined (`spa.coupling.places`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spa.coupling.connect import distinct, lowest, numbered
from spa.coupling.labels import KEPT, Labels
from spa.coupling.picks import Picks
from spa.coupling.places import NO_LABELS, Pieces, Places, Stretch

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
        node: its number.
    """

    alternatives: tuple[Alternative, ...]
    preferred: tuple[int, ...] | None = None
    node: int | None = None


@dataclass(frozen=True)
class Components:
    """The outcome.

    Attributes:
        places: the places of labels.
        of_place: component of every place, shape (places,); numbered by their lowest labels.
        kept: whether a component stays, shape (components,).
        pieces: components by runs of labels; what is kept is apart from what is not.
    """

    places: Places
    of_place: Labels
    kept: Mask
    pieces: Pieces

    @cached_property
    def of(self) -> Labels:
        """Component of every label, shape (labels,)."""
        return self.of_place[self.places.of]

    def at(self, labels: Labels) -> Labels:
        """Components of some labels, in their shape."""
        return self.of_place[self.places.at(labels)]


def solve(
    sizes: Sequence[int],
    stretches: Sequence[Stretch],
    equalities: Sequence[Pairs],
    kept_labels: Labels,
    choices: Sequence[Choice],
    picks: Sequence[Labels] = (),
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
        picks: labels of which some must be left, however they are coupled.
    """
    places = Places(sizes, stretches)
    # Places are looked up for all at once.
    sides = [np.concatenate([NO_LABELS, *[pair[k] for pair in equalities]]) for k in (0, 1)]
    labels = [kept_labels, *sides, *map(_labels, choices), *picks]
    at = _split(places.at(np.concatenate(labels)), [part.size for part in labels])
    of = np.arange(places.count)
    kept = np.zeros(places.count, dtype=bool)
    kept[KEPT] = True
    kept[at[0]] = True
    pairs = [places.left, (at[1], at[2])]
    first_pick = 3 + len(choices)
    found = zip(choices, at[3:first_pick], strict=True)
    open_ = [_Open.of_choice(choice, where) for choice, where in found]
    picked = Picks.of(at[first_pick:])
    pending = [choice for choice in open_ if choice.preferred is not None]
    later = [choice for choice in open_ if choice.preferred is None]
    while True:
        number, kept = _connect(pairs, kept)
        of = number[of]
        picked_now = picked.mapped(of)
        kept[picked_now.joined()] = True
        if not pending:
            if not later:
                return Components(places, of, kept, places.pieces(of, kept))
            pending, later = later, []
        pending, pairs = _settle(pending, of, kept, picked_now)


def _labels(choice: Choice) -> Labels:
    """A choice's labels: of every alternative, those of all first sides before the second ones."""
    return np.concatenate(
        [
            pair[k]
            for alternative in choice.alternatives
            for k in (0, 1)
            for pair in alternative.pairs
        ]
    )


def _split(values: Labels, sizes: Sequence[int]) -> list[Labels]:
    """Parts of an array, one after another."""
    ends = itertools.accumulate(sizes)
    return [values[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _connect(pairs: Sequence[Pairs], kept: Mask) -> tuple[Labels, Mask]:
    """Joins components.

    Args:
        pairs: components that are equal.
        kept: whether a component stays.

    Returns:
        The new component of every old one, and whether the new ones stay.
    """
    pairs = [pair for pair in pairs if pair[0].size]
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


@dataclass(frozen=True)
class _Open:
    """A choice that is not settled.

    Attributes:
        places: of its labels, in the order of `_labels`.
        bounds: where every alternative's places begin; the last is where they end.
        preferred: see `Choice`.
    """

    places: Labels
    bounds: tuple[int, ...]
    preferred: tuple[int, ...] | None

    @staticmethod
    def of_choice(choice: Choice, places: Labels) -> _Open:
        """A choice, given the places of its labels (`_labels`)."""
        sizes = [sum([pair[0].size for pair in way.pairs]) for way in choice.alternatives]
        bounds = tuple(itertools.accumulate([2 * size for size in sizes], initial=0))
        return _Open(places, bounds, choice.preferred)

    def holds(self, components: Labels, kept: Mask) -> bool:
        """Says whether the first alternative that is allowed holds already: none leaves more."""
        first = self.preferred[0] if self.preferred else 0
        if not np.array_equal(*self.pairs(first, components)):
            return False
        return first == 0 or not kept[components].all()

    def pairs(self, alternative: int, values: Labels) -> Pairs:
        """The two sides of an alternative, of something that stands for the places."""
        start, end = self.bounds[alternative : alternative + 2]
        middle = (start + end) // 2
        return values[start:middle], values[middle:end]


def _settle(
    pending: Sequence[_Open], of: Labels, kept: Mask, picks: Picks
) -> tuple[list[_Open], list[Pairs]]:
    """Settles the choices that touch different components.

    Args:
        pending: the choices.
        of: component of every place.
        kept: whether a component stays.
        picks: components of what is picked.

    Returns:
        The choices that must wait, and the components that are equal by those that need not.
    """
    blocked = np.zeros(kept.size, dtype=bool)
    # Of the components that a choice touches, which one it is.
    number = np.zeros(kept.size, dtype=np.int64)
    waiting = []
    pairs: list[Pairs] = []
    for choice in pending:
        components = of[choice.places]
        if choice.holds(components, kept):
            continue  # it would be settled so, and change nothing
        touched = distinct(components)
        stays = kept[touched]
        # Kept components never change, so they order nothing.
        free = touched[~stays]
        if blocked[free].any():
            waiting.append(choice)
            blocked[free] = True
            continue
        number[touched] = np.arange(touched.size)
        local = number[components]
        ways = range(len(choice.bounds) - 1)
        inside = picks.inside(touched, number)
        counts = [_count(choice.pairs(i, local), stays, inside) for i in ways]
        allowed = [i for i in choice.preferred or () if counts[i] > 0] or ways
        best = choice.pairs(max(allowed, key=lambda i: (counts[i], -i)), components)
        if not np.array_equal(*best):
            pairs.append(best)
            blocked[free] = True
    return waiting, pairs


def _count(pairs: Pairs, stays: Mask, picks: Picks) -> int:
    """Number of components that may go if ``pairs`` of them were equal too."""
    root = lowest(stays.size, *pairs)
    free = root == np.arange(stays.size)
    free[root[stays]] = False
    free[picks.mapped(root).joined()] = False
    return int(free.sum())
