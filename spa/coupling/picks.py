"""What nodes pick of a tensor, to be used by itself: some of it must be left.

A kernel of a table of kernels (``k[:, j]``), a half of two (``chunk``), one head of several
(``unbind``): whoever reads the pick counts on it. Its labels may go one by one; where they all lie
in one component (the table was seen as parts x inputs x outputs, and shrinks along its parts), that
component must stay, as nothing would be left to pick. Other components are free: a part that nobody
picks may go, and an index moves up to where its part is then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.coupling.connect import distinct, gaps, ranges
from spa.coupling.labels import Labels


@dataclass(frozen=True)
class Picks:
    """All picks of a model.

    Attributes:
        entries: numbers that stand for what was picked (places, components), pick after pick.
        starts: where every pick begins, shape (picks,).
    """

    entries: Labels
    starts: Labels

    @staticmethod
    def of(picks: Sequence[Labels]) -> Picks:
        """Picks, given the numbers of each; none is empty."""
        parts = [distinct(pick) for pick in picks]
        sizes = np.array([part.size for part in parts], dtype=np.int64)
        entries = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        return Picks(entries, sizes.cumsum() - sizes)

    def mapped(self, of: Labels) -> Picks:
        """The same, in terms of what their numbers became."""
        return Picks(of[self.entries], self.starts)

    def joined(self) -> Labels:
        """The components that are all that some pick has."""
        if not self.starts.size:
            return self.starts
        low: Labels = np.minimum.reduceat(self.entries, self.starts)
        return np.asarray(low[low == np.maximum.reduceat(self.entries, self.starts)])

    def inside(self, touched: Labels, number: Labels) -> Picks:
        """Those that lie in some components alone: only they can be joined when these are.

        Args:
            touched: the components, ascending.
            number: which of them a component is, if it is one of them.
        """
        maybe = _are(self.entries[self.starts], touched, number).nonzero()[0]
        if not maybe.size:
            return Picks(maybe, maybe)
        sizes = gaps(self.starts, self.entries.size)[maybe]
        entries = self.entries[ranges(self.starts[maybe], sizes)]
        starts = sizes.cumsum() - sizes
        whole = np.logical_and.reduceat(_are(entries, touched, number), starts)
        entries, sizes = entries[whole.repeat(sizes)], sizes[whole]
        return Picks(number[entries], sizes.cumsum() - sizes)


def _are(components: Labels, touched: Labels, number: Labels) -> npt.NDArray[np.bool_]:
    """Which of some components are among those that are touched."""
    at = np.minimum(number[components], touched.size - 1)
    return np.asarray(touched[at] == components)
