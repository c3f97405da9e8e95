"""Latency in milliseconds, as it is measured on a machine (`spa.latency`)."""

from __future__ import annotations

from spa.selection.quantity import Quantity, quantity

LATENCY_MS = quantity(
    Quantity(
        "latency_ms",
        "latency_ms",
        None,
        grows=False,
        kind="amount",
        text="milliseconds of one inference",
    )
)
