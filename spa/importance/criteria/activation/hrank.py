"""HRank: the mean matrix rank of a channel's feature maps.

Of every sample the rank of every map (H, W) is found by itself. The maps are those that something
reads which does more than compute entry by entry: a layer, a pooling, a mean, a concatenation; they
lie behind norms and non-linearities. Of several the mean counts. In a transformer these are the
heads' matrices, one row per token; what has no such map gets no score.

Cost: a singular value decomposition for every map of every sample, which is slow; the paper takes
500 samples.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.labels import support
from spa.coupling.operators import contracts, operator
from spa.errors import SettingError
from spa.graph.model import Model
from spa.graph.nodes import Node
from spa.importance.criterion import Need, NoOptions, criterion
from spa.importance.values import Tensors
from spa.importance.view import View


@criterion(
    source="Lin et al. 2020, HRank, 3.2, eq. 4",
    needs=Need.ACTIVATIONS | Need.TRAINED,
    aggregate="mean",
    normalize="none",
)
def hrank(view: View, how: NoOptions) -> Tensors:
    """Scores channels by the mean rank of their maps.

    Raises:
        SettingError: the model has no maps of two axes, or they hold what is not finite.
    """
    model, layers = view.model, view.groups.coupling.layers
    maps = [
        name
        for name, shape in model.shapes.items()
        if len(shape) == 4 and min(shape[2:]) > 1
        if any(support(layer) == (1,) for layer in layers.get(name, []))
        if any(_takes(model.graph.nodes[u.node], model) for u in model.graph.uses.get(name, ()))
        if name not in model.constants
    ]
    if not maps:
        raise SettingError(
            "hrank ranks maps of shape (N, channels, H, W), and this model has none on channels "
            "that may go; use another criterion."
        )
    total = {name: np.zeros(model.shapes[name][1]) for name in maps}
    samples = dict.fromkeys(maps, 0)
    for batch in view.activations(maps):
        for name, values in batch.items():
            if not np.isfinite(values).all():
                raise SettingError(
                    f'hrank: "{name}" holds values that are not finite on this data; give other '
                    "inputs, such as samples of the task."
                )
            ranks = np.linalg.matrix_rank(values.astype(np.float32, copy=False))  # (N, C)
            total[name] += ranks.sum(axis=0)
            samples[name] += len(ranks)
    return Tensors({(name, 1): total[name] / max(1, samples[name]) for name in maps})


def _takes(node: Node, model: Model) -> bool:
    """Whether a node does more with a map than compute entry by entry, or normalise it."""
    if operator(node.op).affine:
        return False
    shapes = [model.shapes.get(name) for name in (node.inputs[0], node.outputs[0])]
    return contracts(node.op) or shapes[0] != shapes[1]
