"""Magnitude: |w|, summed over a slice."""

from __future__ import annotations

import numpy as np

from spa.graph.deferred import own
from spa.graph.model import Array
from spa.importance.criterion import NoOptions, criterion
from spa.importance.values import EachTime, Elements
from spa.importance.view import View


@criterion(source="Li et al. 2017, Pruning Filters for Efficient ConvNets, 3.1")
def l1(view: View, how: NoOptions) -> Elements:
    """Scores every parameter element by its absolute value."""

    def scores(name: str) -> Array:
        values = view.model.numbers(name)
        return np.abs(values, out=own(values))

    return Elements(EachTime(view.model.counted_parameters, scores))
