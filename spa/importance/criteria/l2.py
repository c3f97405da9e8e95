"""Squared magnitude: w^2, summed over a slice; ranks as the slice's squared L2 norm does."""

from __future__ import annotations

import numpy as np

from spa.graph.model import Model
from spa.importance.registry import Context, EachTime, ElementScores, criterion


@criterion("element")
def l2(model: Model, context: Context) -> ElementScores:
    """Scores every parameter element by its square."""
    return EachTime(model.counted_parameters, lambda name: np.square(model.numbers(name)))
