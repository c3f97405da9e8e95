"""Squared magnitude: w^2, summed over a slice; ranks as the slice's squared L2 norm does."""

from __future__ import annotations

import numpy as np

from spa.graph.deferred import own
from spa.graph.model import Array
from spa.importance.criterion import NoOptions, criterion
from spa.importance.values import EachTime, Elements
from spa.importance.view import View


@criterion(source="Li et al. 2017, Pruning Filters for Efficient ConvNets, 4.4 (squared here)")
def l2(view: View, how: NoOptions) -> Elements:
    """Scores every parameter element by its square."""

    def scores(name: str) -> Array:
        values = view.model.numbers(name)
        return np.square(values, out=own(values))

    return Elements(EachTime(view.model.counted_parameters, scores))
