"""All channels that may go, in one total order.

Global scope: by score, then group, then place within the group. Local scope: by the share of its
group that is gone once the channel goes, so that every group shrinks alike. Floors and caps take
the end of each group out of the order, and a prefix of the order is rounded down to the widths that
are asked for. RF and RP only grow along the order, and ties do no harm.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from spa.coupling.groups import Group, Groups
from spa.importance.score import Scores
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
        self._local = limits.scope == "local"
        self._limits = limits
        self._steps = [max(1, limits.round_to // math.gcd(limits.round_to, _width(g)))
                       for g in chosen]  # fmt: skip
        self._caps = [_most(group, limits) for group in chosen]
        keys: list[tuple[float, float, int, int]] = []
        self._ranked: list[npt.NDArray[np.int64]] = []
        for number, group in enumerate(chosen):
            values = scores.by_group[group.id]
            gone = np.zeros(group.channels) if already is None else already[group.components]
            # What went in an earlier step stays first; ties are broken by index.
            ranked = np.lexsort((np.arange(group.channels), values, ~gone.astype(bool)))
            self._ranked.append(group.components[ranked])
            for place in range(self._caps[number]):
                went = bool(gone[ranked[place]])
                share = (place + 1) / group.channels
                key = share if self._local else float(values[ranked[place]])
                keys.append((0.0 if went else 1.0, key, number, place))
        keys.sort()
        self._order = np.array([key[2] for key in keys], dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of channels that may go."""
        return int(self._order.size)

    def prefix(self, length: int) -> Mask:
        """Components that go when the first ``length`` channels do, rounded down."""
        return self.remove(self.counts(length))

    def of_ratio(self, ratio: float) -> Mask:
        """Components that go for a removed share: of every group (local), or of all (global)."""
        # The smallest slack that undoes binary fractions: floor(0.29 * 100) is 29.
        if self._local:
            wanted = [math.floor(ratio * group.channels + 1e-9) for group in self._groups]
            return self.remove([self._rounded(i, count) for i, count in enumerate(wanted)])
        total = sum(group.channels for group in self._groups)
        return self.prefix(min(self.size, math.floor(ratio * total + 1e-9)))

    def counts(self, length: int) -> list[int]:
        """Channels of every group that go when the first ``length`` of the order do."""
        taken = np.bincount(self._order[:length], minlength=len(self._groups))
        return [self._rounded(number, int(count)) for number, count in enumerate(taken)]

    def remove(self, counts: Sequence[int]) -> Mask:
        """Components that go when so many channels of every group do."""
        removed = np.zeros(self._components, dtype=bool)
        for ranked, count in zip(self._ranked, counts, strict=True):
            removed[ranked[:count]] = True
        return removed

    def following(self, length: int) -> Iterator[tuple[int, Callable[[int], int]]]:
        """Groups in the order after a prefix, each with the step to its next feasible count."""
        for number in self._order[length:].tolist():
            yield number, functools.partial(self._next, number)

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


def _most(group: Group, limits: Limits) -> int:
    """How many channels of a group may go; nothing may empty a layer."""
    by_share = math.floor(limits.cap * group.channels + 1e-9)
    least = max(limits.min_channels, group.at_least)
    return max(0, min(by_share, group.channels - least))
