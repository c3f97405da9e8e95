"""Bytes: what the weights that are left take, as they are stored.

Weights of other types than the rest count as they are, so that in a model of 8-bit layers a float
table of the same size weighs four times as much.
"""

from __future__ import annotations

from spa.selection.quantity import Costs, Mask, Quantity, quantity


def value(costs: Costs, removed: Mask) -> float:
    """Bytes of the weights that are left."""
    return costs.model.weight_bytes(removed)


BYTES = quantity(
    Quantity("bytes", "bytes", value, grows=True, kind="amount", text="what weights take at most")
)
