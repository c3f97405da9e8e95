"""SynFlow: the share of a network's flow that goes through a channel; needs no data.

R is the sum of the outputs of the network with |w| in place of w, for an input of ones. A weight's
flow is |w * dR/dw|, and a channel's its sum over one cut (see `spa.importance.gates`): what comes
in through the rows goes out through the columns, so all members together would count it twice.
R grows with every layer and overflows single precision in deep networks, so it is computed in
float64. Scores of whole layers differ far less after every step than in one: the paper takes 100
(``steps=100``).

Norms keep their stored statistics. Inputs of whole numbers, such as tokens, are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa.importance.criterion import criterion
from spa.importance.gates import Where
from spa.importance.values import Channels
from spa.importance.view import View
from spa.observe.data import data_for, drawn
from spa.observe.gradients import Differentiated
from spa.observe.losses import total


@dataclass(frozen=True)
class Synflow:
    """Options of SynFlow.

    Attributes:
        cut: the gate's, see `spa.importance.gates`.
    """

    cut: Where = "consumers"


@criterion(
    source="Tanaka et al. 2020, Pruning Neural Networks without Any Data, 5; of channels: own",
    normalize="none",
)
def synflow(view: View, how: Synflow) -> Channels:
    """Scores channels by the synaptic flow through them."""
    model, coupling = view.model, view.groups.coupling
    inputs = {
        name: np.ones_like(x) if x.dtype.kind == "f" else x
        for name, x in drawn(model, "noise", 1, view.seed).items()
    }
    # Whatever else is stored, such as a mask's minus infinity, keeps its sign.
    signed = {m.name for group in view.groups.groups for m in group.members} | coupling.multiplied
    flow = Differentiated(
        model, data_for(model, inputs), total, statistics="stored", double=True, absolute=signed
    )
    view.seen.update({"data": "ones", "samples": flow.samples, "targets": False})
    products = flow.weighted(flow.mean())
    return Channels(view.over_cut({n: np.abs(p) for n, p in products.items()}, how.cut))
