"""Magnitude: |w|, summed over a slice (Li et al., Pruning Filters for Efficient ConvNets, 3.1)."""

from __future__ import annotations

import numpy as np

from spa.graph.model import Model
from spa.importance.registry import Context, EachTime, ElementScores, criterion


@criterion("element")
def l1(model: Model, context: Context) -> ElementScores:
    """Scores every parameter element by its absolute value."""
    return EachTime(model.counted_parameters, lambda name: np.abs(model.numbers(name)))
