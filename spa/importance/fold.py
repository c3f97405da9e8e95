"""From scores of any kind to rows for the channels of a group: one for every scored member.

A member's slice counts the sum of its elements. Running statistics are no weights and get no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spa.coupling.groups import Group, Groups, Member
from spa.coupling.labels import Labels, support
from spa.graph.model import Array
from spa.graph.nodes import name_of_read
from spa.importance.shifts import without_shifts
from spa.importance.values import Axes, Channels, Elements, Scored, Tensors, Values

# Whether a member takes part.
Picked = Callable[[Group, Member], bool]


class Fold:
    """Rows of the channels of groups.

    Args:
        groups: the groups.
        scored: what a criterion gave.
        picked: leaves members out; None takes all that the scores are for.
    """

    def __init__(self, groups: Groups, scored: Scored, picked: Picked | None = None) -> None:
        self._coupling = groups.coupling
        self._model = groups.coupling.model
        self._scored, self._picked = scored, picked
        if picked is None and isinstance(scored, Elements) and not scored.shifts:
            self._picked = without_shifts(self._model)
        self._sums = _Sums(scored, groups) if isinstance(scored, Elements) else None

    def rows(self, group: Group) -> Values | None:
        """Shape (members, channels); None where nothing of the group is scored."""
        if isinstance(self._scored, Channels):
            values = self._scored.of[group.components]
            return None if np.isnan(values).all() else values[None]
        if isinstance(self._scored, Tensors):
            return self._of_tensors(group, self._scored)
        found = [row for _, row in self.each(group)]
        return np.stack(found) if found else None

    def each(self, group: Group) -> Iterator[tuple[Member, Values]]:
        """The scored members of a group, each with its row, shape (channels,).

        Of scores of elements and axes alone: others have no members.
        """
        for member in group.members:
            if member.axis.uses and self._model.statistic_reads.issuperset(member.axis.uses):
                continue
            if self._picked is not None and not self._picked(group, member):
                continue
            along = self._of_member(member)
            if along is not None:
                yield member, np.asarray(along[member.indices].sum(axis=1))

    def _of_member(self, member: Member) -> Values | None:
        """Scores along a member's axis."""
        get = self._sums.get if self._sums is not None else self._of_axis
        # A read with labels of its own may have scores of its own (a gradient).
        for use in member.axis.uses:
            read = self._model.graph.nodes[use.node].inputs[use.position]
            for name in (name_of_read(member.name, use), name_of_read(read, use), read):
                values = get((name, member.axis.axis))
                if values is not None:
                    return values
        return get((member.name, member.axis.axis))

    def _of_axis(self, key: tuple[str, int]) -> Values | None:
        assert isinstance(self._scored, Axes)
        return self._scored.of.get(key)

    def _of_tensors(self, group: Group, scored: Tensors) -> Values | None:
        """A row for every tensor along which the whole group lies."""
        found = []
        for (name, axis), values in scored.of.items():
            for layer in self._coupling.layers.get(self._model.root(name), []):
                if support(layer) != (axis,):
                    continue
                row = _means(group.components, self._coupling.components.at(layer.ravel()), values)
                if row is not None:
                    found.append(row)
        return np.stack(found) if found else None


def _means(wanted: Labels, components: Labels, values: Values) -> Values | None:
    """The mean of each component's values; None unless all of them are there."""
    order = np.argsort(wanted)
    places = np.searchsorted(wanted[order], components).clip(max=wanted.size - 1)
    hit = wanted[order][places] == components
    which = order[places[hit]]
    counts = np.bincount(which, minlength=wanted.size)
    if not counts.all():
        return None
    return np.bincount(which, weights=values[hit], minlength=wanted.size) / counts


class _Sums:
    """Element scores, summed over all axes but one.

    A tensor's scores are computed once, for all of its axes that are asked for, and not kept.

    Args:
        elements: the scores.
        groups: whose members will be asked for.
    """

    def __init__(self, elements: Elements, groups: Groups) -> None:
        self._elements = elements.of
        self._sums: dict[tuple[str, int], Values] = {}
        self._axes: dict[str, set[int]] = {}
        for group in groups.groups:
            for member in group.members:
                self._axes.setdefault(member.name, set()).add(member.axis.axis)

    def get(self, key: tuple[str, int]) -> Values | None:
        """Sums along a tensor's axis, shape (size,); None where it has no scores."""
        name, axis = key
        if name not in self._elements:
            return None
        if key not in self._sums:
            array: Array = self._elements[name]
            axes = sorted({axis, *self._axes.get(name, ())})
            # What none of them is, such as a kernel's pixels, goes first.
            rest = tuple(k for k in range(array.ndim) if k not in axes)
            left = array.sum(axis=rest, dtype=np.float64) if rest else array
            for i, k in enumerate(axes):
                others = tuple(j for j in range(left.ndim) if j != i)
                self._sums[name, k] = left.sum(axis=others, dtype=np.float64)
        return self._sums[key]
