"""Magnitude: |w|, summed over a slice (Li et al., Pruning Filters for Efficient ConvNets, 3.1)."""

from __future__ import annotations

import numpy as np

from spa.graph.deferred import own
from spa.graph.model import Array, Model
from spa.importance.registry import Context, EachTime, ElementScores, criterion


@criterion("element")
def l1(model: Model, context: Context) -> ElementScores:
    """Scores every parameter element by its absolute value."""

    def scores(name: str) -> Array:
        values = model.numbers(name)
        return np.abs(values, out=own(values))

    return EachTime(model.counted_parameters, scores)
