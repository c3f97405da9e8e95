"""Random scores: the baseline that any criterion must beat."""

from __future__ import annotations

import numpy as np

from spa.importance.criterion import NoOptions, criterion
from spa.importance.values import Axes
from spa.importance.view import View
from spa.observe.data import SEEDS


# Of a coupled set the first member alone counts: sums of many draws would all be alike.
@criterion(source="own", aggregate="first", normalize="none")
def random(view: View, how: NoOptions) -> Axes:
    """Draws a uniform score for every index of every parameter axis."""
    rng = np.random.default_rng(view.seed % SEEDS)
    return Axes({
        (name, axis): rng.random(size)
        for name in view.model.counted_parameters
        for axis, size in enumerate(view.model.shapes[name])
    })  # fmt: skip
