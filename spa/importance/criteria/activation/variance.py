"""Variance: how much a channel changes where layers read it, behind its non-linearity.

A channel that hardly changes can go, and its mean into the next bias (a refit by `spa.obspa` does
that, and more). Variances are over samples and places; of several layers that read a group the mean
counts. A group that no layer reads gets no score, and is left dense.
"""

from __future__ import annotations

from spa.coupling.labels import support
from spa.errors import SettingError
from spa.importance.criterion import Need, NoOptions, criterion
from spa.importance.values import Tensors
from spa.importance.view import View
from spa.observe.moments import moments_of
from spa.observe.readers import find_readers


@criterion(
    source="Variance-Based Pruning 2025, arXiv 2507.12988 (abstract); of all groups: ours",
    needs=Need.ACTIVATIONS | Need.TRAINED,
    aggregate="mean",
    normalize="none",
)
def variance(view: View, how: NoOptions) -> Tensors:
    """Scores channels by the variance of what the layers that read them are given.

    Raises:
        SettingError: no layer of the model reads channels that may go.
    """
    model, layers = view.model, view.groups.coupling.layers
    read = [
        (reader.tensor, reader.axis)
        for reader in find_readers(model)
        if any(support(layer) == (reader.axis,) for layer in layers.get(reader.tensor, []))
    ]
    if not read:
        raise SettingError(
            "variance looks at what layers with weights read, and no such layer of this model "
            "reads channels that may go; use another criterion."
        )
    moments = moments_of(read, view.activations(sorted({tensor for tensor, _ in read})))
    return Tensors({key: found.variance for key, found in moments.items()})
