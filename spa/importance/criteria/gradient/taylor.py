"""Taylor: the squared change of the loss, to first order, when a channel's gate closes.

Of every batch dL/dc is one number per channel, with its sign; its square is averaged over batches.
Tools that sum or average over all members of a coupled set count one removal several times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa.importance.criterion import Need, criterion
from spa.importance.gates import Where
from spa.importance.values import Channels
from spa.importance.view import View
from spa.observe.gradients import Statistics


@dataclass(frozen=True)
class Taylor:
    """Options of Taylor.

    Attributes:
        cut: the gate's, see `spa.importance.gates`.
        statistics: what batch norms normalise by; a trained network is scored with the stored ones.
    """

    cut: Where = "consumers"
    statistics: Statistics = "stored"


@criterion(
    source="Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, 3, eq. 8",
    needs=Need.GRADIENTS | Need.TRAINED,
    normalize="none",
)
def taylor(view: View, how: Taylor) -> Channels:
    """Scores channels by the mean over batches of (dL/dc)^2."""
    total, samples = np.zeros(view.groups.coupling.components.kept.size), 0
    loss = view.differentiated(statistics=how.statistics)
    for gradients, count in loss.each():
        total += count * view.over_cut(loss.weighted(gradients), how.cut) ** 2
        samples += count
    return Channels(total / samples)
