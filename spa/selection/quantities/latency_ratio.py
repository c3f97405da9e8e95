"""Latency: measured milliseconds of the dense model over those of what is left (`spa.latency`)."""

from __future__ import annotations

from spa.selection.quantity import Quantity, quantity

LATENCY_RATIO = quantity(
    Quantity(
        "latency_ratio",
        "latency_ratio",
        None,
        grows=False,
        kind="quotient",
        text="dense over pruned milliseconds",
    )
)
