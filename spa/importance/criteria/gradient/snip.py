"""SNIP: |w * dL/dw|, the loss's sensitivity to each connection, or to each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from spa.importance.criterion import Need, criterion
from spa.importance.gates import Where
from spa.importance.values import Channels, Elements
from spa.importance.view import View
from spa.observe.gradients import Statistics


@dataclass(frozen=True)
class Snip:
    """Options of SNIP.

    Attributes:
        form: ``weight`` sums |w * dL/dw| over all members of a coupled set; ``gate`` takes |dL/dc|
            of a gate c on the channel, from one cut.
        cut: the gate's, see `spa.importance.gates`.
        statistics: what batch norms normalise by.
    """

    form: Literal["weight", "gate"] = "weight"
    cut: Where = "consumers"
    statistics: Statistics = "batch"


@criterion(
    source="Lee et al. 2019, SNIP: Single-shot Network Pruning, 4; the gate form is own",
    needs=Need.GRADIENTS,
    normalize="none",
)
def snip(view: View, how: Snip) -> Elements | Channels:
    """Scores by connection sensitivity."""
    loss = view.differentiated(statistics=how.statistics)
    products = loss.weighted(loss.mean())
    if how.form == "gate":
        return Channels(np.abs(view.over_cut(products, how.cut)))
    return Elements({name: np.abs(values) for name, values in products.items()})
