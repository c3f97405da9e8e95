"""Parameters: those of the dense model over those that are left (RP)."""

from __future__ import annotations

from spa.selection.quantity import Costs, Mask, Quantity, quantity


def value(costs: Costs, removed: Mask) -> float:
    """Dense over pruned parameters; 1 for a model without any."""
    params = costs.model.cost(removed).params
    return costs.dense.params / params if params else 1.0


PARAMETERS = quantity(
    Quantity("parameters", "rp", value, grows=True, kind="quotient", text="dense over pruned")
)
