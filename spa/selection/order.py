"""All channels that may go, in one total order.

A scope (`spa.selection.scope`) puts groups into sets. Within a set channels stand by score, then
group, then place within the group; and sets are merged by the share of their channels that is gone
once a channel goes, so that all shrink alike (of two with one share the smaller set first, and sets
of one size next to each other). Floors and caps take the end of each group out of the
order, and a prefix of the order is rounded down to the widths that are asked for. RF, RP and the
removed share only grow along the order, and ties do no harm. Groups that have a share of their own
lose it with every prefix, the empty one too, and are left out of the order and of its share.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from spa.coupling.groups import Group, Groups
from spa.importance.score import Scores
from spa.importance.values import Values
from spa.selection import scope
from spa.selection.quantity import CLOSE
from spa.selection.target import Limits

Mask = npt.NDArray[np.bool_]


class Order:
    """All channels that may go, in one total order; see the module's text."""

    def __init__(
        self,
        groups: Groups,
        chosen: Sequence[Group],
        scores: Scores,
        limits: Limits,
        already: Mask | None,
    ) -> None:
        self._components = groups.coupling.components.kept.size
        self._groups = list(chosen)
        self._steps = [max(1, limits.round_to // math.gcd(limits.round_to, _width(g)))
                       for g in chosen]  # fmt: skip
        self._caps = [limits.most(group) for group in chosen]
        #: By place among the chosen groups, how many channels those with a share of their own lose.
        self.own = {
            number: self._whole_of(number, share)
            for number, group in enumerate(chosen)
            if (share := limits.ratio_of(group)) is not None
        }
        for number, count in self.own.items():
            self._caps[number] = count
        set_of = scope.get(limits.scope).set_of
        self._sets: dict[Hashable, list[int]] = {}
        for number, group in enumerate(chosen):
            if number not in self.own:
                self._sets.setdefault(set_of(group), []).append(number)
        self._total = sum(map(self._channels, self._sets.values()))
        ranked = [_ranked(group, scores.by_group[group.id], already) for group in chosen]
        self._ranked = [group.components[places] for group, (places, _) in zip(
            chosen, ranked, strict=True
        )]  # fmt: skip
        self._keys = [keys for _, keys in ranked]
        merged: list[tuple[float, float, int, int, int]] = []
        for numbers in self._sets.values():
            keys = sorted(
                (went, value, number, place)
                for number in numbers
                for place, (went, value) in enumerate(ranked[number][1][: self._caps[number]])
            )
            channels = self._channels(numbers)
            merged += [
                (went, (i + 1) / channels, channels, number, place)
                for i, (went, _, number, place) in enumerate(keys)
            ]
        merged.sort()
        self._order = np.array([number for _, _, _, number, _ in merged], dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of channels that may go."""
        return int(self._order.size)

    def prefix(self, length: int) -> Mask:
        """Components that go when the first ``length`` channels do, rounded down."""
        return self.remove(self.counts(length))

    def share(self, removed: Mask) -> float:
        """Share of the channels of all groups in the order that goes."""
        numbers = [number for each in self._sets.values() for number in each]
        gone = sum(int(removed[self._groups[number].components].sum()) for number in numbers)
        return gone / self._total if self._total else 0.0

    def whole(self, ratio: float, least: float) -> float:
        """The share that goes where every set loses the same share, in whole channels.

        What a set loses is rounded down. Where that comes to less than ``least``, sets lose one
        channel more, those of one size together and in the order, until it does not; or the most
        that may go does, if that is enough.
        """
        if not self._total:  # nothing is left to a target where all groups have shares of their own
            return 0.0 if self.own else ratio
        sizes = Counter(map(self._channels, self._sets.values()))
        # The smallest slack that undoes binary fractions: floor(0.29 * 100) is 29.
        floors = {size: math.floor(ratio * size + 1e-9) for size in sizes}
        gone = sum(floors[size] * count for size, count in sizes.items())
        if gone / self._total >= least:
            return gone / self._total
        for _, size in sorted((k / n, n) for n in sizes for k in range(floors[n] + 1, n + 1)):
            gone += sizes[size]
            if gone / self._total >= least:
                break
        return min(gone / self._total, max(least, self.share(self.prefix(self.size))))

    def _channels(self, numbers: Sequence[int]) -> int:
        return sum(self._groups[number].channels for number in numbers)

    def counts(self, length: int) -> list[int]:
        """Channels of every group that go when the first ``length`` of the order do."""
        taken = np.bincount(self._order[:length], minlength=len(self._groups)).tolist()
        return [
            self.own[number] if number in self.own else self._rounded(number, count)
            for number, count in enumerate(taken)
        ]

    def remove(self, counts: Sequence[int]) -> Mask:
        """Components that go when so many channels of every group do."""
        removed = np.zeros(self._components, dtype=bool)
        for ranked, count in zip(self._ranked, counts, strict=True):
            removed[ranked[:count]] = True
        return removed

    @property
    def widths(self) -> list[int]:
        """Channels of every group in the order."""
        return [group.channels for group in self._groups]

    def feasible(self, number: int) -> list[int]:
        """Numbers of channels that may go of a group, within its cap and its steps."""
        if number in self.own:
            return [self.own[number]]
        most = self._caps[number]
        return [n for n in range(most + 1) if self._rounded(number, n) == n]

    def losses(self) -> list[Values]:
        """By group, what the first n of its channels cost together, n from 0 to its cap.

        In one set that is the sum of their scores. Scores of sets are not compared with each other;
        there each channel counts as much as the order puts it behind others.
        """
        if len(self._sets) == 1:
            by_place = [np.array([value for _, value in keys]) for keys in self._keys]
        else:
            by_place = [np.zeros(width) for width in self.widths]
            seen = [0] * len(self._groups)
            for place, number in enumerate(self._order.tolist()):
                by_place[number][seen[number]] = (place + 1) / max(1, self.size)
                seen[number] += 1
        return [
            np.concatenate([[0.0], np.cumsum(values[:most])])
            for values, most in zip(by_place, self._caps, strict=True)
        ]

    def following(self, length: int) -> Iterator[tuple[int, Callable[[int], int]]]:
        """Groups in the order after a prefix, each with the step to its next feasible count."""
        for number in self._order[length:].tolist():
            yield number, functools.partial(self._next, number)

    def _whole_of(self, number: int, share: float) -> int:
        """Whole channels of a group for a share: rounded down, unless that misses it."""
        asked = share * self._groups[number].channels
        count = self._rounded(number, math.floor(asked + 1e-9))
        return count if count >= asked * (1 - CLOSE) else self._next(number, count)

    def _rounded(self, number: int, count: int) -> int:
        """The largest feasible count not above ``count``."""
        count = min(count, self._caps[number])
        while count > 0 and (self._groups[number].channels - count) % self._steps[number]:
            count -= 1
        return count

    def _next(self, number: int, count: int) -> int:
        """The smallest feasible count above ``count``, or ``count`` where there is none."""
        for larger in range(count + 1, self._caps[number] + 1):
            if self._rounded(number, larger) == larger:
                return larger
        return count


def _width(group: Group) -> int:
    """Axis entries that one channel takes where the group is narrowest."""
    return int(min(member.indices.shape[1] for member in group.members))


def _ranked(
    group: Group, values: Values, already: Mask | None
) -> tuple[npt.NDArray[np.int64], list[tuple[float, float]]]:
    """Places of a group's channels in the order in which they go, and what they are sorted by.

    What went in an earlier step stays first; ties are broken by index.
    """
    gone = np.zeros(group.channels, dtype=bool) if already is None else already[group.components]
    places = np.lexsort((np.arange(group.channels), values, ~gone))
    return places, [(0.0 if gone[i] else 1.0, float(values[i])) for i in places]
