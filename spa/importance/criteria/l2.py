"""Squared magnitude: w^2, summed over a slice; ranks as the slice's squared L2 norm does."""

from __future__ import annotations

import numpy as np

from spa.graph.deferred import own
from spa.graph.model import Array, Model
from spa.importance.registry import Context, EachTime, ElementScores, criterion


@criterion("element")
def l2(model: Model, context: Context) -> ElementScores:
    """Scores every parameter element by its square."""

    def scores(name: str) -> Array:
        values = model.numbers(name)
        return np.square(values, out=own(values))

    return EachTime(model.counted_parameters, scores)
