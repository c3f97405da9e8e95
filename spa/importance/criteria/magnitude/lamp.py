"""LAMP: a channel's squared norm over that of all channels of its group that are as large.

The paper scores single weights; here a weight is a channel, and its square the mean over members of
the sum of w^2. The largest channel of every group scores 1, so none is emptied. Biases and shifts
do not count. What makes the shares is the normaliser ``lamp``; with another one this is the squared
group norm.
"""

from __future__ import annotations

import numpy as np

from spa.graph.model import Array
from spa.importance.criterion import NoOptions, criterion
from spa.importance.values import EachTime, Elements
from spa.importance.view import View


@criterion(
    source="Lee et al. 2021, Layer-Adaptive Sparsity, eq. 2; of channels as in Torch-Pruning 1.6",
    aggregate="mean",
    normalize="lamp",
)
def lamp(view: View, how: NoOptions) -> Elements:
    """Scores every weight element by its square, for the normaliser to take shares of."""

    def scores(name: str) -> Array:
        return np.square(view.model.numbers(name).astype(np.float64))

    return Elements(EachTime(view.model.counted_parameters, scores), shifts=False)
