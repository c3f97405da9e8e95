"""Axes that are equal from end to end, taken as one.

Nearly all equalities join one whole axis with another: a convolution's outputs with its bias, a
norm's vectors with its input's channels. So axes are joined before labels are, and of every set of
joined axes one stands for all: the first. Its labels are the set's *places*, and components are
found among places, which are far fewer than labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spa.coupling.connect import breaks, gaps, lowest, ranges
from spa.coupling.labels import Labels

# The first labels of two runs of consecutive labels, equal one by one, and how long they are.
Stretch = tuple[int, int, int]
NO_LABELS: Labels = np.zeros(0, dtype=np.int64)
# To search a run's axes takes so many times as long as a table of all takes for each label.
SEARCHES = 16


@dataclass(frozen=True)
class Pieces:
    """All labels, cut into runs of which the components are consecutive too.

    Attributes:
        axes: positions of the labelled axes that they are of; -1 for KEPT.
        labels: the first label of every piece, ascending.
        indices: what index of its axis that is.
        components: the component of each of these.
        sizes: number of labels.
    """

    axes: Labels
    labels: Labels
    indices: Labels
    components: Labels
    sizes: Labels

    def of(self, chosen: npt.NDArray[np.bool_]) -> Pieces:
        """Some of the pieces."""
        return Pieces(
            self.axes[chosen],
            self.labels[chosen],
            self.indices[chosen],
            self.components[chosen],
            self.sizes[chosen],
        )


class Places:
    """Places of labels.

    Args:
        sizes: number of labels of every axis, in order of label; the first label is 1.
        stretches: equalities of runs of labels.

    Attributes:
        count: number of places; the first is that of KEPT.
        left: places that the stretches that join no whole axes say are equal.
    """

    def __init__(self, sizes: Sequence[int], stretches: Sequence[Stretch]) -> None:
        # KEPT is an axis of its own, the first.
        self._sizes = np.array([1, *sizes], dtype=np.int64)
        self._starts = self._sizes.cumsum() - self._sizes
        table = np.array(stretches, dtype=np.int64).reshape(-1, 3)
        a, b = (self._starts.searchsorted(table[:, k], side="right") - 1 for k in (0, 1))
        whole = (self._starts[a] == table[:, 0]) & (self._starts[b] == table[:, 1])
        whole &= (self._sizes[a] == table[:, 2]) & (self._sizes[b] == table[:, 2])
        first = lowest(self._sizes.size, a[whole], b[whole])
        stands = first == np.arange(self._sizes.size)
        own = np.where(stands, self._sizes, 0)
        self._places = (own.cumsum() - own)[first]
        self.count = int(own.sum())
        self.left = NO_LABELS, NO_LABELS
        if not whole.all():
            firsts, seconds, lengths = table[~whole].T
            self.left = self.at(ranges(firsts, lengths)), self.at(ranges(seconds, lengths))

    @cached_property
    def of(self) -> Labels:
        """The place of every label, shape (labels,)."""
        return ranges(self._places, self._sizes)

    def at(self, labels: Labels) -> Labels:
        """The places of some labels, in their shape.

        Labels are often asked for as they were handed out, in runs, and what holds for the first of
        a run holds for all. Where runs are many, or the table of all is there, it is read.
        """
        if "of" in self.__dict__:
            return self.of[labels]
        flat = labels.reshape(-1)
        starts = breaks(flat)
        if starts.size * SEARCHES > self._starts[-1]:
            return self.of[labels]
        # A run may reach over several axes.
        firsts, sizes = flat[starts], gaps(starts, flat.size)
        first = self._starts.searchsorted(firsts, side="right") - 1
        count = self._starts.searchsorted(firsts + sizes) - first
        axes = ranges(first, count)
        begin = np.maximum(self._starts[axes], firsts.repeat(count))
        end = np.minimum(self._starts[axes] + self._sizes[axes], (firsts + sizes).repeat(count))
        places = begin + (self._places - self._starts)[axes]
        return ranges(places, end - begin).reshape(labels.shape)

    def pieces(self, of: Labels, kept: npt.NDArray[np.bool_]) -> Pieces:
        """Runs of labels of one axis with consecutive components, kept and free ones apart.

        Args:
            of: component of every place.
            kept: whether a component stays.
        """
        new = np.ones(self.count, dtype=bool)
        stays = kept[of]
        new[1:] = (of[1:] - of[:-1] != 1) | (stays[1:] != stays[:-1])
        new[self._places[self._sizes > 0]] = True
        starts = new.nonzero()[0]
        sizes = gaps(starts, self.count)
        # By axis, the pieces of the axis that stands for it.
        first = starts.searchsorted(self._places)
        end = starts.searchsorted(self._places + self._sizes)
        axes = np.arange(self._sizes.size).repeat(end - first)
        chosen = ranges(first, end - first)
        places = starts[chosen]
        indices = places - self._places[axes]
        labels = indices + self._starts[axes]
        return Pieces(axes - 1, labels, indices, of[places], sizes[chosen])
