"""Axes of which some entries must be left: the k largest cannot be taken of fewer than k.

A line of labels may hold channels of several groups. Each group answers for its share of what must
be left, rounded up, so that the groups need not know of each other.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.couple import Coupling
from spa.coupling.labels import Labels


def least_channels(coupling: Coupling, components: Labels) -> int:
    """How many channels of a group, given by its components, must be left."""
    of, kept = coupling.components.of, coupling.components.kept
    least = 1
    for floor in coupling.floors:
        line = of[floor.line]
        mine = np.unique(line[np.isin(line, components)])
        free = int((~kept[line]).sum())
        missing = floor.count - (line.size - free)
        # A line that goes whole, or stays, takes no entry of another.
        if mine.size == 0 or missing <= 0 or (line == line[0]).all():
            continue
        share = -(-missing * mine.size // free)
        least = max(least, components.size - mine.size + share)
    return min(least, int(components.size))
