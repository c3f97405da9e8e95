"""APoZ: how rarely a channel is zero behind its non-linearity.

Only such non-linearities count as make zeros: ReLU and its bounded forms. Groups without one get no
score, and are left dense. Of several that read a group, the mean counts.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.labels import support
from spa.errors import SettingError
from spa.graph.model import Model
from spa.graph.nodes import Node
from spa.importance.criterion import Need, NoOptions, criterion
from spa.importance.values import Tensors
from spa.importance.view import View


@criterion(
    source="Hu et al. 2016, Network Trimming, 3.1 (1 - APoZ)",
    needs=Need.ACTIVATIONS | Need.TRAINED,
    aggregate="mean",
    normalize="none",
)
def activation(view: View, how: NoOptions) -> Tensors:
    """Scores channels by the share of entries above zero, over samples and places.

    Raises:
        SettingError: no tensor of the model is behind such a non-linearity.
    """
    model, layers = view.model, view.groups.coupling.layers
    axes = {
        node.outputs[0]: axis
        for node in model.graph.nodes
        if _makes_zeros(node, model)
        for layer in layers.get(node.outputs[0], [])
        for axis in support(layer)[:1]
        if len(support(layer)) == 1
    }
    if not axes:
        raise SettingError(
            "activation counts zeros behind ReLU, and this model has no such operator on a channel "
            "that may go; use another criterion."
        )
    alive = {name: np.zeros(model.shapes[name][axis]) for name, axis in axes.items()}
    entries = dict.fromkeys(axes, 0)
    for batch in view.activations(list(axes)):
        for name, values in batch.items():
            rows = np.moveaxis(values, axes[name], 0).reshape(values.shape[axes[name]], -1)
            alive[name] += np.count_nonzero(rows, axis=1)
            entries[name] += rows.shape[1]
    return Tensors({(n, axis): alive[n] / max(1, entries[n]) for n, axis in axes.items()})


def _makes_zeros(node: Node, model: Model) -> bool:
    """Whether an operator gives zero for a whole range of inputs."""
    if node.op == "Clip":
        low = node.attr("min") if not node.has_input(1) else model.static_value(node.inputs[1])
        return low is not None and float(np.reshape(low, -1)[0]) == 0.0
    return node.op in ("Relu", "ThresholdedRelu", "HardSigmoid")
