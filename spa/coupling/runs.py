"""Labels that need not be looked at: runs, and what is known to equal one.

A run is one axis's labels, as they were handed out (`spa.coupling.labels.LabelSpace`). Labels of
another sort (what a Concat puts together) are looked at when they are stated equal to a run. If
none of them is kept, they are known by that run from then on: it is their *twin*.
"""

from __future__ import annotations

import math

import numpy as np

from spa.coupling.components import Pairs
from spa.coupling.labels import Labels, LabelSpace


class Runs:
    """Runs and twins.

    Args:
        space: what hands out the labels.
    """

    def __init__(self, space: LabelSpace) -> None:
        self._first_of_run = space.first_of_run
        # By the identity of an array of labels: that array, and the first label of its twin.
        self._twins: dict[int, tuple[Labels, int]] = {}

    def first(self, labels: Labels) -> int | None:
        """The first label of a run, or of one that labels were stated equal to (a Concat's)."""
        first = self._first_of_run(labels)
        if first is None and self._twins:
            owner = _owner(labels)
            if owner is not None and id(owner) in self._twins:
                return self._twins[id(owner)][1]
        return first

    def note_twins(self, a: Labels, first: int | None, b: Labels, other: int | None) -> None:
        """Notes the run that labels of another sort, none of them kept, are stated equal to."""
        for labels, run in ((a, other), (b, first)):
            owner = None if run is None else _owner(labels)
            if owner is not None and run is not None and np.count_nonzero(labels) == labels.size:
                self._twins[id(owner)] = (owner, run)

    def pairs(self, a: Labels, b: Labels) -> Pairs:
        """Pairs of labels, broadcast; of equal ones in a row (a channel's pixels) one is enough."""
        first_of_run = self._first_of_run
        if a.shape == b.shape:
            runs = first_of_run(a) is not None or first_of_run(b) is not None
            x, y = a.reshape(-1), b.reshape(-1)
        else:
            wide = np.broadcast(a, b)
            runs = (a.size == wide.size and first_of_run(a) is not None) or (
                b.size == wide.size and first_of_run(b) is not None
            )
            x, y = _spread(a, wide.shape), _spread(b, wide.shape)
        if x.size < 2 or runs:
            return x, y
        new = np.concatenate([[True], (x[1:] != x[:-1]) | (y[1:] != y[:-1])])
        return x[new], y[new]


def _spread(labels: Labels, shape: tuple[int, ...]) -> Labels:
    """Labels broadcast to a shape, flat; `numpy.broadcast_to` takes longer than to copy them."""
    if labels.size == math.prod(shape):
        return labels.reshape(-1)
    wide = np.empty(shape, dtype=np.int64)
    wide[...] = labels
    return wide.reshape(-1)


def _owner(labels: Labels) -> Labels | None:
    """The array that labels are all of, in its order; they may have another shape."""
    owner = labels if labels.base is None else labels.base
    whole = isinstance(owner, np.ndarray) and owner.size == labels.size
    return owner if whole and owner.flags.c_contiguous and labels.flags.c_contiguous else None
