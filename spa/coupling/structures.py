"""Components of one structure: labels of the same parameter axes, as many of each.

Consecutive components nearly always lie in the same pieces of axes (`spa.coupling.places.Pieces`),
one label further each. Such a *span* of components has one structure, so that structures are
compared span by span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spa.coupling.connect import breaks, changes, distinct, gaps, ranges
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
        indices: indices of every span's first component along these, shape (spans, entries).
        lines: lines of which some entries must be left, that all of them lie on.
    """

    sizes: Labels
    components: Labels
    axes: Labels
    indices: Labels
    lines: tuple[Line, ...]

    def of_all(self) -> Labels:
        """Indices of every component along the axes, shape (channels, entries)."""
        steps = ranges(np.zeros_like(self.sizes), self.sizes)[:, None]
        return np.repeat(self.indices, self.sizes, axis=0) + steps


def structures(pieces: Pieces, lines: Sequence[Line]) -> list[Structure]:
    """All structures, by their first labels.

    Args:
        pieces: what is looked at.
        lines: lines of which some entries must be left; what lies on one has another structure.
    """
    if not pieces.axes.size:
        return []
    after = pieces.components + pieces.sizes
    bounds = distinct(np.concatenate([pieces.components, after, *map(_bounds, lines)]))
    first = bounds.searchsorted(pieces.components)
    count = bounds.searchsorted(after) - first
    # Every piece's part in every span; pieces are in order of label, so a span's are too.
    part = np.arange(first.size).repeat(count)
    span = ranges(first, count)
    order = span.argsort(kind="stable")
    part, span = part[order], span[order]
    axes = pieces.axes[part]
    indices = pieces.indices[part] + bounds[span] - pieces.components[part]
    starts = changes(span)
    ends = [*starts[1:].tolist(), span.size]
    components = bounds[span[starts]]
    sizes = bounds[span[starts] + 1] - components
    on = [np.isin(components, line.components).tolist() for line in lines]
    alike: dict[tuple[Any, ...], list[int]] = {}
    labels = pieces.labels[part[starts]] - pieces.indices[part[starts]] + indices[starts]
    for k in labels.argsort().tolist():
        structure = (axes[starts[k] : ends[k]].tobytes(), *[row[k] for row in on])
        alike.setdefault(structure, []).append(k)
    found = []
    for spans in alike.values():
        one = spans[0]
        start, end = int(starts[one]), ends[one]
        # Most have one span: views are taken in a fraction of the time of lists of indices.
        some = slice(one, one + 1) if len(spans) == 1 else spans
        found.append(
            Structure(
                sizes=sizes[some],
                components=ranges(components[some], sizes[some]),
                axes=axes[start:end],
                indices=indices[None, start:end]
                if len(spans) == 1
                else indices[starts[spans, None] + np.arange(end - start)],
                lines=tuple([line for line, row in zip(lines, on, strict=True) if row[spans[0]]]),
            )
        )
    return found


def _bounds(line: Line) -> Labels:
    """Where runs of a line's components begin and end."""
    starts = breaks(line.components)
    firsts = line.components[starts]
    return np.concatenate([firsts, firsts + gaps(starts, line.components.size)])
