"""What becomes of batch norms' statistics: in the walk, and in the model that is delivered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spa.graph.model import Array, Model
from spa.graph.nodes import Node
from spa.observe.gram import Matrix
from spa.observe.stream import Stream, moments
from spa.obspa.settings import Settings

# How far a relative refresh may move a variance.
VARIANCE_RATIO = (1e-3, 4.0)


@dataclass(frozen=True)
class Statistics:
    """What a batch norm delivers.

    Attributes:
        values: new statistics by parameter; empty where they stay.
        note: why they stay though they were to change.
    """

    values: Mapping[str, Array]
    note: str = ""


def settle(
    model: Model,
    node: Node,
    dense: Stream,
    repaired: Stream,
    settings: Settings,
    shift: Matrix | None,
    reads: Mapping[str, int],
) -> Statistics:
    """Settles the statistics that a batch norm uses in both streams, and those it keeps.

    Where the calibration inputs' own statistics are used, the dense stream's stand for the stored
    ones: both streams use them, as both models use the stored ones later.

    Args:
        model: the model.
        node: the batch norm.
        dense: the dense model's stream; it has computed the node's input.
        repaired: the one under repair.
        settings: what is asked for.
        shift: a refit's intercept, which the mean takes; None for none.
        reads: how many nodes read a parameter.
    """
    own, kind = settings.batch_statistics, settings.batch_norms
    stored = [dense.whole(name) for name in node.inputs[3:5]]
    moved = np.zeros(()) if shift is None else shift
    estimated = kind in ("refresh", "relative")
    note = reason_to_keep(model, node, reads) if estimated else ""
    if not own and (note or not estimated):
        return Statistics({}, note)
    mean, var = moments(dense.batches(node.inputs[0]))
    if own:
        dense.set_statistics(node, mean, var)
    if note or not estimated:
        repaired.set_statistics(node, (mean - moved).astype(mean.dtype), var)
        return Statistics({}, note)
    seen = moments(repaired.batches(node.inputs[0]))
    new = seen
    if kind == "relative":
        floor = 1e-6 * float(var.mean()) + np.finfo(var.dtype).tiny
        ratio = np.clip(seen[1] / np.maximum(var, floor), *VARIANCE_RATIO)
        new = (stored[0] + seen[0] - mean, stored[1] * ratio)
    repaired.set_statistics(node, *(seen if own else new))
    names = [model.root(read) for read in node.inputs[3:5]]
    return Statistics({
        name: np.asarray(value).astype(model.dtype(name))
        for name, value in zip(names, new, strict=True)
    })  # fmt: skip


def reason_to_keep(model: Model, node: Node, reads: Mapping[str, int]) -> str:
    """Why a batch norm's statistics cannot change; empty where they can."""
    for name in map(model.root, node.inputs[3:5]):
        if name not in model.parameters:
            return f'{node} keeps its statistics: "{name}" is no tensor of the file'
        if reads[name] > 1:
            return f'{node} keeps its statistics: "{name}" is read more than once'
    return ""
