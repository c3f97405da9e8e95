"""A peer that only knows how large a share of the channels goes, brought to any target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import spa
from experiments.methods import Job
from spa.errors import InfeasibleTarget

if TYPE_CHECKING:
    import onnx

# What a share is searched for to reach, by keyword.
REACHED = ("rf", "rp", "ratio")
# Halvings of the share that is searched for; widths are whole, so more find the same networks.
STEPS = 7


def reach(job: Job, prune: Callable[[float], onnx.ModelProto]) -> onnx.ModelProto:
    """Return what the smallest share makes that reaches the target.

    Args:
        job: its target is a share, RF or RP.
        prune: makes the smaller network from a share in [0, 1).

    Raises:
        InfeasibleTarget: no share that was tried reaches it.
    """
    ((quantity, asked),) = job.target.as_dict().items()
    if quantity == "ratio":
        return prune(asked)
    dense = measured(job.dense, job, quantity)
    low, high = 0.0, 1.0
    found, most = None, 1.0
    for _ in range(STEPS):
        share = (low + high) / 2
        made = prune(share)
        reached = dense / measured(made, job, quantity)
        most = max(most, reached)
        if reached >= asked:
            found, high = made, share
        else:
            low = share
    if found is None:
        raise InfeasibleTarget(
            f"{quantity} {asked:g} is out of reach: up to a share of {low:.2f} of the channels, "
            f"{quantity} {most:.2f} is reached; ask for less",
            quantity=quantity,
            asked=asked,
            reachable=most,
        )
    return found


def measured(model: object, job: Job, quantity: str) -> float:
    """What a file costs, as all files are measured: MACs for ``rf``, parameters for ``rp``."""
    cost = spa.measure_cost(spa.load(model, job.given or None))  # type: ignore[arg-type]
    return float(cost.macs if quantity == "rf" else cost.params)
