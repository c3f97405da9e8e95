"""SNIP: |w * dL/dw| (Lee et al., SNIP: Single-shot Network Pruning, 4), on one batch."""

from __future__ import annotations

import numpy as np

from spa.graph.model import Model
from spa.importance.registry import Context, ElementScores, criterion


@criterion("element", normalize="none")
def snip(model: Model, context: Context) -> ElementScores:
    """Scores every parameter element by its connection sensitivity."""
    from spa.importance.gradients import gradients

    return {
        name: np.abs(model.array(model.root(name)).astype(np.float64) * gradient)
        for name, gradient in gradients(model, context).items()
    }
