"""Axes of which some entries must be left: the k largest cannot be taken of fewer than k.

Of what is picked by itself one entry is left at least (`spa.coupling.picks`).

A line of labels may hold channels of several groups, and channels that are on a line form groups of
their own. Each group answers for its share of what must be left, rounded up, so that the groups
need not know of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa.coupling.couple import Coupling
from spa.coupling.labels import Labels


@dataclass(frozen=True)
class Line:
    """An axis of which some entries must be left.

    Attributes:
        components: of its entries that may go, each once, sorted.
        entries: how many entries may go.
        missing: how many of these must be left.
    """

    components: Labels
    entries: int
    missing: int

    def share(self, components: Labels) -> int:
        """How many of some components, all of them on the line, must be left."""
        return -(-self.missing * components.size // self.entries)


def lines(coupling: Coupling) -> list[Line]:
    """Lines of which not everything may go.

    A line that goes whole, or stays, takes no entry of another.
    """
    components, kept = coupling.components, coupling.components.kept
    found: dict[bytes, Line] = {}
    for floor in coupling.floors:
        line = components.at(floor.line)
        free = line[~kept[line]]
        missing = floor.count - (line.size - free.size)
        if missing > 0 and not (line == line[0]).all():
            entry = Line(np.unique(free), free.size, missing)
            known = found.setdefault(free.tobytes(), entry)
            if known.missing < missing:
                found[free.tobytes()] = entry
    return list(found.values())
