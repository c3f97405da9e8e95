"""Random scores: the baseline that any criterion must beat."""

from __future__ import annotations

import numpy as np

from spa.graph.model import Model
from spa.importance.registry import SEEDS, ChannelScores, Context, criterion


# Of a coupled set the first member alone counts: sums of many draws would all be alike.
@criterion("channel", aggregate="first", normalize="none")
def random(model: Model, context: Context) -> ChannelScores:
    """Draws a uniform score for every index of every parameter axis."""
    rng = np.random.default_rng(context.seed % SEEDS)
    return {
        (name, axis): rng.random(size)
        for name in model.counted_parameters
        for axis, size in enumerate(model.shapes[name])
    }
