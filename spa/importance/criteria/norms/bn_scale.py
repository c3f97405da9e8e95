"""Batch norm scale: |gamma| of every channel.

Batch norm comes in two forms: a BatchNormalization node, or, from exporters that write its
arithmetic, a Mul by a constant with one value per channel. Both count.
"""

from __future__ import annotations

import numpy as np

from spa.errors import SettingError
from spa.importance.criterion import Need, NoOptions, criterion
from spa.importance.values import Axes
from spa.importance.view import View


@criterion(source="Liu et al. 2017, Network Slimming, 3", needs=Need.TRAINED)
def bn_scale(view: View, how: NoOptions) -> Axes:
    """Scores channels by the scale of their batch norm; other parameters get no score.

    Raises:
        SettingError: the model has no batch norm (it was folded into the convolutions).
    """
    model, scores = view.model, {}
    for node in model.graph.nodes:
        candidates = [node.inputs[1]] if node.op == "BatchNormalization" else []
        candidates += list(node.inputs) if node.op == "Mul" else []
        for tensor in candidates:
            name = model.stored(tensor)
            if name not in model.counted_parameters:
                continue
            long_axes = [axis for axis, size in enumerate(model.shapes[name]) if size > 1]
            if len(long_axes) == 1:
                value = np.abs(model.numbers(name).astype(np.float64)).reshape(-1)
                scores[(name, long_axes[0])] = value
    if not scores:
        raise SettingError(
            "bn_scale needs batch norm, and this model has none; exporters fold it into the "
            "convolutions. Export with batch norm kept, as `spa export` does, or use another "
            "criterion."
        )
    return Axes(scores)
