"""GraSP: keep what keeps the gradient's norm.

The paper removes the weights with the largest -w * (H g), g the gradient and H the Hessian of the
loss at a temperature of 200. Of a channel's gate c the same is the derivative of g . g' by c, with
g held still: the sum of w * (H g) + g * g over one cut. Without g * g the sum over a filter in
front of batch norm is -|g|^2 exactly, and would keep the filters with the smallest gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

from spa.importance.criterion import Need, criterion
from spa.importance.gates import Where
from spa.importance.values import Channels
from spa.importance.view import View
from spa.observe.gradients import Statistics


@dataclass(frozen=True)
class Grasp:
    """Options of GraSP.

    Attributes:
        temperature: what the class scores are divided by.
        cut: the gate's, see `spa.importance.gates`.
        statistics: what batch norms normalise by.
    """

    temperature: float = 200.0
    cut: Where = "consumers"
    statistics: Statistics = "batch"


@criterion(
    source="Wang et al. 2020, Picking Winning Tickets, 4.2; the gate form is own",
    needs=Need.GRADIENTS,
    normalize="none",
)
def grasp(view: View, how: Grasp) -> Channels:
    """Scores channels by what they add to the gradient's norm; scores have both signs."""
    loss = view.differentiated(statistics=how.statistics, temperature=how.temperature)
    return Channels(view.over_cut(loss.flow(), how.cut))
