"""Which group of coupled channels feeds which, told from a plan alone.

A weight that is a member of two groups by different axes reads the channels of one and makes those
of the other: an edge. A plan does not say which axis of a weight is its output, but a group's first
member is the weight that makes its channels, so that axis is. Weights that make no group first
(the second of a residual block) follow what most of the others do, or axis 0 as a Conv has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spa.pruning.plan import PlannedGroup


@dataclass(frozen=True)
class Edge:
    """Channels of one group are read to make those of another.

    Attributes:
        source: place in the list of groups; so is ``target``, which can be the same.
        names: the weights that do it.
    """

    source: int
    target: int
    names: tuple[str, ...]


def edges(groups: Sequence[PlannedGroup]) -> list[Edge]:
    """Find the edges between groups, ordered by where they start and end."""
    members: dict[str, dict[int, list[int]]] = {}  # parameter: axis: groups
    for place, group in enumerate(groups):
        for name, axis in group.members:
            members.setdefault(name, {}).setdefault(axis, []).append(place)
    between = {name: axes for name, axes in members.items() if len(axes) > 1}
    first = dict(group.members[0] for group in reversed(groups) if group.members)
    known = {name: axis for name, axis in first.items() if name in between}
    usual = Counter(known.values()).most_common(1)[0][0] if known else 0
    found: dict[tuple[int, int], list[str]] = {}
    for name, axes in between.items():
        made = known.get(name, usual if usual in axes else min(axes))
        for axis, sources in axes.items():
            if axis != made:
                for pair in ((s, t) for s in sources for t in axes[made]):
                    found.setdefault(pair, []).append(name)
    return [Edge(s, t, tuple(dict.fromkeys(names))) for (s, t), names in sorted(found.items())]
