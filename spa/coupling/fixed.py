"""Channels that say something by their place stay: no training made what makes or reads them.

The bins of a spectrum, the frequencies of a time code, the categories of an input, the places of a
distribution that is read out: one of them is not worth less than another because its numbers are
small, and who built the network would not know it without them.

1. What a table of fixed numbers (`spa.graph.fixed_numbers`) is multiplied with, and summed over,
   stays: filters of a spectrum behind it, the bins of a mean.
2. What fixed numbers make, and no weight makes too, stays. A rotary embedding's frequencies go with
   the channels of the queries that they turn.
3. What no weight makes at all (a one-hot of an input) stays.

This is known when components are. Source: own.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from spa.coupling.components import Components
from spa.coupling.couple import Coupling, Mask
from spa.coupling.labels import KEPT, Labels
from spa.coupling.operators import multiplies, operator
from spa.coupling.remarks import Remark
from spa.graph.nodes import Node, Use

NOT_MADE = "no weight makes these channels"


def keep_fixed(coupling: Coupling) -> Coupling:
    """The coupling with such channels kept."""
    sides = _Sides(coupling)
    free = ~coupling.components.kept
    found: list[Remark] = []
    for text, wrong in sides.wrong():
        labels = np.flatnonzero(wrong & free[coupling.components.of])
        if labels.size:
            found.append(Remark(labels, None, text))
            free[coupling.components.at(labels)] = False
    if not found:
        return coupling
    return dataclasses.replace(
        coupling,
        components=_with_kept(coupling.components, ~free),
        kept=(*coupling.kept, *found),
    )


def _with_kept(components: Components, kept: Mask) -> Components:
    pieces = components.places.pieces(components.of_place, kept)
    return dataclasses.replace(components, kept=kept, pieces=pieces)


class _Sides:
    """Which labels of parameters make channels, and which read them.

    Args:
        coupling: the coupling.
    """

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        self._size = coupling.components.of.size
        #: Labels of parameters whose channels they make, by trained weights and by others.
        self.made = np.zeros(self._size, dtype=bool)
        self.fixed: dict[str, Mask] = {}
        #: Labels of channels that a table of fixed numbers is summed with.
        self.read: dict[str, Mask] = {}
        #: Labels of channels that some weight is summed with.
        self.summed = np.zeros(self._size, dtype=bool)
        for node in coupling.model.graph.nodes:
            self._visit(node)

    def _visit(self, node: Node) -> None:
        facts = operator(node.op)
        if facts.moves or (facts.affine and not multiplies(node.op)):
            return
        given: Labels | None = None
        beside = self._beside(node)
        for i, name in enumerate(node.inputs):
            if name not in self._coupling.model.constants or i in facts.biases:
                continue
            layers = self._coupling.layers_read(Use(node.index, i))
            if not layers:
                continue
            kind = self._coupling.model.fixed_numbers(name)
            if given is None:
                given = self._on_outputs(node)
            for layer in layers:
                labels = np.unique(layer[layer != KEPT])
                makes = not multiplies(node.op) or bool(np.isin(labels, given).any())
                at = self._coupling.components.at(labels)
                if not multiplies(node.op) and np.isin(at, beside).any():
                    continue  # it scales or shifts channels that something else makes
                if makes and kind:
                    self._of(self.fixed, kind)[labels] = True
                elif makes:
                    self.made[labels] = True
                else:
                    self.summed[labels] = True
                    if kind:
                        self._of(self.read, kind)[labels] = True

    def wrong(self) -> list[tuple[str, Mask]]:
        """Labels that should stay, with the reason."""
        at = self._coupling.components.of
        count = self._coupling.components.kept.size
        made, summed = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        made[at[self.made]] = True
        summed[at[self.summed]] = True
        found = [
            (f"it is summed with fixed numbers ({kind}), by place", mask)
            for kind, mask in self.read.items()
        ]
        found += [
            (f"fixed numbers ({kind}) make these channels", mask & ~made[at])
            for kind, mask in self.fixed.items()
        ]
        return [*found, (NOT_MADE, self.summed & ~made[at])]

    def _of(self, masks: dict[str, Mask], kind: str) -> Mask:
        return masks.setdefault(kind, np.zeros(self._size, dtype=bool))

    def _beside(self, node: Node) -> Labels:
        """Components of the channels that a node reads besides constants."""
        layers = [
            layer
            for i, name in enumerate(node.inputs)
            if name and name not in self._coupling.model.constants
            for layer in self._coupling.layers_read(Use(node.index, i))
        ]
        at = [self._coupling.components.at(layer.ravel()) for layer in layers]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *at]))

    def _on_outputs(self, node: Node) -> Labels:
        layers = [x for name in node.outputs for x in self._coupling.layers.get(name, [])]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *[x.ravel() for x in layers]]))
