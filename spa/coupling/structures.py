"""Components of one structure: labels of the same parameter axes, as many of each.

Consecutive components nearly always lie in the same pieces of axes (`spa.coupling.places.Pieces`),
one label further each. Such a *span* of components has one structure, so that structures are
compared span by span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spa.coupling.connect import distinct, ranges
from spa.coupling.floors import Line
from spa.coupling.labels import Labels
from spa.coupling.places import Pieces


@dataclass(frozen=True)
class Structure:
    """Components of one structure.

    Attributes:
        sizes: numbers of components of its spans, shape (spans,).
        components: all of them, by their first labels, shape (channels,).
        axes: the axes of every component's labels, ascending, shape (entries,).
        labels: labels of every span's first component, ascending, shape (spans, entries).
        lines: lines of which some entries must be left, that all of them lie on.
    """

    sizes: Labels
    components: Labels
    axes: Labels
    labels: Labels
    lines: tuple[Line, ...]

    @cached_property
    def steps(self) -> Labels:
        """How many components every one comes after the first of its span, shape (channels,)."""
        return ranges(np.zeros_like(self.sizes), self.sizes)

    def of_all(self, first: Labels) -> Labels:
        """From what every span begins with, shape (spans, k), to all, shape (channels, k)."""
        if len(self.sizes) == 1:
            return first + self.steps[:, None]
        return np.repeat(first, self.sizes, axis=0) + self.steps[:, None]


def structures(pieces: Pieces, lines: Sequence[Line]) -> list[Structure]:
    """All structures, by their first labels.

    Args:
        pieces: what is looked at.
        lines: lines of which some entries must be left; what lies on one has another structure.
    """
    if not pieces.axes.size:
        return []
    ends = pieces.components + pieces.sizes
    bounds = distinct(np.concatenate([pieces.components, ends, *map(_bounds, lines)]))
    first = np.searchsorted(bounds, pieces.components)
    count = np.searchsorted(bounds, ends) - first
    # Every piece's part in every span; pieces are in order of label, so a span's are too.
    part = np.repeat(np.arange(first.size), count)
    span = ranges(first, count)
    order = np.argsort(span, kind="stable")
    part, span = part[order], span[order]
    axes = pieces.axes[part]
    labels = pieces.labels[part] + bounds[span] - pieces.components[part]
    starts = np.flatnonzero(np.diff(span, prepend=-1))
    counts = np.diff(starts, append=span.size)
    components = bounds[span[starts]]
    sizes = bounds[span[starts] + 1] - components
    on = np.array([np.isin(components, line.components) for line in lines], dtype=bool)
    on = on.reshape(len(lines), components.size)
    found = []
    for positions in _alike(axes, starts, on):
        spans = positions[np.argsort(labels[starts[positions]])]
        entries = starts[spans, None] + np.arange(counts[spans[0]])
        found.append(
            Structure(
                sizes=sizes[spans],
                components=ranges(components[spans], sizes[spans]),
                axes=axes[entries[0]],
                labels=labels[entries],
                lines=tuple(
                    line for line, flag in zip(lines, on[:, spans[0]], strict=True) if flag
                ),
            )
        )
    return sorted(found, key=lambda structure: int(structure.labels[0, 0]))


def _bounds(line: Line) -> Labels:
    """Where runs of a line's components begin and end."""
    inside = np.diff(line.components) == 1
    starts = line.components[np.concatenate(([True], ~inside))]
    ends = line.components[np.concatenate((~inside, [True]))] + 1
    return np.concatenate([starts, ends])


def _alike(axes: Labels, starts: Labels, on: npt.NDArray[np.bool_]) -> list[Labels]:
    """Positions of the spans that have the same structure, for each structure.

    A structure is which axes a component has, how often each, and of which lines some of its
    entries must be left. Every axis and every line gets random numbers of 128 bits, whose sum tells
    structures apart.

    Args:
        axes: the axes of all spans' labels, one span after another.
        starts: where each span's axes begin.
        on: which spans lie on which lines, shape (lines, spans).
    """
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**64, (2, int(axes.max()) + 1 + len(on)), dtype=np.uint64)
    sums = np.add.reduceat(numbers[:, axes], starts, axis=1)
    for line, row in enumerate(on):
        sums += numbers[:, -1 - line, None] * row
    # By both sums; each run of equal ones is a structure.
    order = np.lexsort(sums)
    changes = (np.diff(sums[:, order], axis=1) != 0).any(axis=0)
    return np.split(order, np.flatnonzero(changes) + 1)
