"""CroP: keep what changes the gradient's flow most, whichever way.

The paper scores a weight by |w * (H g)|, g the gradient and H the Hessian of the loss, a channel
by the size of d(g . g')/dc, c a gate on it and g held still. That is the absolute sum of
w * (H g) + g * g over one cut (see `spa.importance.gates`): GraSP's number without its sign and
without a temperature. The published code is fed from the test set; give samples to train on.
In steps (``steps=6``) it is CroP-It, and early in training it is EarlyCroP's score.
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
class Crop:
    """Options of CroP.

    Attributes:
        cut: the gate's, see `spa.importance.gates`.
        statistics: what batch norms normalise by; the published code takes the stored ones, which
            in a fresh network are not those of its signals.
    """

    cut: Where = "consumers"
    statistics: Statistics = "batch"


@criterion(
    source="Rachwan et al. 2022, Winning the Lottery Ahead of Time, 3; the gate form is own",
    needs=Need.GRADIENTS,
    normalize="none",
)
def crop(view: View, how: Crop) -> Channels:
    """Scores channels by the size of what they change of the gradient's flow."""
    loss = view.differentiated(statistics=how.statistics)
    return Channels(np.abs(view.over_cut(loss.flow(), how.cut)))
