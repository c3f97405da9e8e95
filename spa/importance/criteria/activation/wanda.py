"""Wanda, of channels: E[x^2] of what a layer reads, times its squared columns.

The paper scores a weight by |W_ij| * |X_j|_2. Its square, summed over the rows i and over all
layers that read the channel, is what their outputs lose of their mean square if channels do not
depend on one another. Means are over samples and places, without padding. A group that no layer
reads gets no score, and is left dense.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.labels import support
from spa.errors import SettingError
from spa.importance.criterion import Need, NoOptions, criterion
from spa.importance.values import Channels
from spa.importance.view import View
from spa.observe.moments import moments_of
from spa.observe.readers import find_readers


@criterion(
    source="Sun et al. 2024, Wanda, 3, eq. 1, squared; summed over rows as Wanda-sp does; groups: "
    "ours",
    needs=Need.ACTIVATIONS | Need.TRAINED,
)
def wanda(view: View, how: NoOptions) -> Channels:
    """Scores channels by the energy that they bring into the layers that read them.

    Raises:
        SettingError: no layer of the model reads channels that may go.
    """
    model, coupling = view.model, view.groups.coupling
    components = coupling.components
    read = [
        (reader, components.at(layer.ravel()))
        for reader in find_readers(model)
        for layer in coupling.layers.get(reader.tensor, [])
        if support(layer) == (reader.axis,) and not components.kept[components.at(layer)].all()
    ]
    if not read:
        raise SettingError(
            "wanda scores what layers with weights read, and no such layer of this model reads "
            "channels that may go; use another criterion."
        )
    axes = [(reader.tensor, reader.axis) for reader, _ in read]
    moments = moments_of(axes, view.activations(sorted({tensor for tensor, _ in axes})))
    energy, scored = np.zeros(components.kept.size), np.zeros(components.kept.size, dtype=bool)
    for reader, channels in read:
        columns = reader.energy(model.numbers(reader.weight))
        np.add.at(energy, channels, moments[reader.tensor, reader.axis].square * columns)
        scored[channels] = True
    return Channels(np.where(scored, energy, np.nan))
