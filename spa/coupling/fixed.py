"""Channels that say something by their place stay: no training made what makes or reads them.

The bins of a spectrum, the frequencies of a time code, the categories of an input, the places of a
distribution that is read out: one of them is not worth less than another because its numbers are
small, and who built the network would not know it without them.

1. What fixed numbers (`spa.graph.fixed_numbers`) are multiplied and summed with stays: the filters
   of a bank, the places of which a mean is taken.
2. What fixed numbers make, and no weight makes too, stays. A rotary embedding's frequencies go with
   the channels of the queries that they turn.

This is known when components are. Source: own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import Enum

import numpy as np

from spa.coupling.components import Components
from spa.coupling.connect import ranges
from spa.coupling.couple import Coupling, Mask
from spa.coupling.operators import multiplies, operator
from spa.coupling.remarks import Remark
from spa.graph.nodes import Node, Use


class Side(Enum):
    """What an axis of a parameter is to the channels along it."""

    MAKES = "makes"  # the output of a contraction follows it; or it is data itself
    READS = "reads"  # it is summed over
    SCALES = "scales"  # it scales or shifts what something else makes


def keep_fixed(coupling: Coupling) -> Coupling:
    """The coupling with such channels kept."""
    components = coupling.components
    pieces = components.pieces
    pieces = pieces.of(
        coupling.axis_is_parameter[pieces.axes] & ~components.kept[pieces.components]
    )
    if not pieces.axes.size:
        return coupling
    axes, first, back = np.unique(pieces.axes, return_index=True, return_inverse=True)
    sides = [
        side_of(coupling, k, label)
        for k, label in zip(axes.tolist(), pieces.labels[first].tolist(), strict=True)
    ]
    kinds = [
        "" if side is Side.SCALES else coupling.model.fixed_numbers(coupling.axes[k].tensor)
        for k, side in zip(axes.tolist(), sides, strict=True)
    ]

    def where(side: Side, *wanted: str) -> Mask:
        """Components that have an axis of a side, with numbers of these kinds."""
        chosen = [s is side and kind in wanted for s, kind in zip(sides, kinds, strict=True)]
        there = np.array(chosen)[back]
        mask = np.zeros(components.kept.size, dtype=bool)
        mask[ranges(pieces.components[there], pieces.sizes[there])] = bool(there.any())
        return mask

    found = sorted({*kinds} - {""})
    made = where(Side.MAKES, "")
    wrong = {
        **{f"it is summed with fixed numbers ({k})": where(Side.READS, k) for k in found},
        **{f"fixed numbers ({k}) make it": where(Side.MAKES, k) & ~made for k in found},
    }
    return _kept(coupling, wrong)


def _kept(coupling: Coupling, wrong: dict[str, Mask]) -> Coupling:
    components = coupling.components
    kept, remarks = components.kept.copy(), []
    for text, mask in wrong.items():
        new = mask & ~kept
        if new.any():
            labels = np.flatnonzero(new[components.of])
            remarks.append(Remark(labels, None, text))
            kept |= new
    if not remarks:
        return coupling
    return dataclasses.replace(
        coupling, components=_with_kept(components, kept), kept=(*coupling.kept, *remarks)
    )


def _with_kept(components: Components, kept: Mask) -> Components:
    pieces = components.places.pieces(components.of_place, kept)
    return dataclasses.replace(components, kept=kept, pieces=pieces)


def side_of(coupling: Coupling, axis: int, label: int) -> Side:
    """What a parameter's axis is to its channels.

    Args:
        coupling: the coupling.
        axis: its position among the labelled axes.
        label: one of its labels.
    """
    sides = {_side(coupling, node, i, label) for node, i in _reads(coupling, axis)}
    return next((side for side in (Side.MAKES, Side.READS) if side in sides), Side.SCALES)


def _reads(coupling: Coupling, axis: int) -> Iterator[tuple[Node, int]]:
    """Where a parameter is read, behind what only moves it about."""
    graph, entry = coupling.model.graph, coupling.axes[axis]
    pending = list(entry.uses or graph.uses.get(entry.tensor, ()))
    while pending:
        use = pending.pop()
        node = graph.nodes[use.node]
        if operator(node.op).moves and node.outputs[0] in coupling.model.constants:
            pending += graph.uses.get(node.outputs[0], ())
        else:
            yield node, use.position


def _side(coupling: Coupling, node: Node, i: int, label: int) -> Side:
    facts = operator(node.op)
    if i in facts.biases or i in facts.affine:
        return Side.SCALES
    if multiplies(node.op):
        given = (x for name in node.outputs for x in coupling.layers.get(name, ()))
        return Side.MAKES if any((layer == label).any() for layer in given) else Side.READS
    return Side.SCALES if _is_beside(coupling, node, i, label) else Side.MAKES


def _is_beside(coupling: Coupling, node: Node, i: int, label: int) -> bool:
    """Whether another input, which is computed, has the label's channel too."""
    component = coupling.components.at(np.array([label]))[0]
    for k, name in enumerate(node.inputs):
        if k == i or not name or name in coupling.model.constants:
            continue
        for layer in coupling.layers_read(Use(node.index, k)):
            if (coupling.components.at(layer) == component).any():
                return True
    return False
