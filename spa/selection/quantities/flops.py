"""FLOPs: those of the dense model over those that are left (RF)."""

from __future__ import annotations

from spa.selection.quantity import Costs, Mask, Quantity, quantity


def value(costs: Costs, removed: Mask) -> float:
    """Dense over pruned MACs, which is that of FLOPs; 1 for a model without any."""
    macs = costs.model.cost(removed).macs
    return costs.dense.macs / macs if macs else 1.0


FLOPS = quantity(
    Quantity("flops", "rf", value, grows=True, kind="quotient", text="dense over pruned")
)
