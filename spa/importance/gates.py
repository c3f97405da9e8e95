"""Gates without gates: a derivative by a channel's gate, from gradients of ordinary weights.

Let a *cut* be a set of slices that scale with a channel: the channel's columns in all consumers;
or, where a norm is the last thing on its way to them, that norm's scale and shift; or, without a
norm, rows and biases of all its producers (if what lies between is positively homogeneous). The
loss's derivative by a gate c on the channel is then the sum of w * dL/dw over the cut, and the
derivative by c of g . g', g held still, is the sum of w * (H g) + g * g. Rows and columns describe
the same removal, so a sum over all members would count it twice or, with batch norm in training
mode, mix in sums over filters that are zero or -|g|^2 whatever the network does.

Source: own; checked against explicit gates in tests/importance/test_gates.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from spa.coupling.couple import Coupling
from spa.coupling.groups import Group, Groups, Member
from spa.coupling.labels import Labels
from spa.coupling.operators import contracts, multiplies, operator
from spa.graph.model import Array
from spa.graph.nodes import Node, Use
from spa.importance.fold import Fold
from spa.importance.values import Elements, Values

Where: TypeAlias = Literal["consumers", "norms", "producers"]
Mask: TypeAlias = npt.NDArray[np.bool_]

# What is taken where a group has no such cut.
_ORDER: Mapping[Where, tuple[Where, ...]] = {
    "consumers": ("consumers", "norms", "producers"),
    "norms": ("norms", "consumers", "producers"),
    "producers": ("producers", "norms", "consumers"),
}


def over_cut(groups: Groups, elements: Mapping[str, Array], where: Where) -> Values:
    """Sums element scores over one cut of every set of coupled channels.

    Args:
        groups: the groups.
        elements: by parameter, an array of its shape, with signs.
        where: the cut; a group that lacks it has another one's.

    Returns:
        By component, shape (components,); NaN where a group has no cut with scores.
    """
    slices = Slices(groups.coupling)
    result = np.full(groups.coupling.components.kept.size, np.nan)
    for group in groups.groups:
        for way in _ORDER[where]:
            if way == "producers" and slices.has(group, "norms"):
                continue  # a norm undoes the scale of what it reads
            fold = Fold(groups, Elements(elements), slices.picked(way))
            rows = fold.rows(group) if slices.has(group, way) else None
            if rows is not None:
                result[group.components] = rows.sum(axis=0)
                break
    return result


class Slices:
    """Which slices of parameters make which cut.

    Args:
        coupling: the model's coupling.
    """

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        count = coupling.components.of.size
        #: By cut, whether a label belongs to it.
        self.labels: dict[Where, Mask] = {way: np.zeros(count, dtype=bool) for way in _ORDER}
        for node in coupling.model.graph.nodes:
            if multiplies(node.op):
                self._take_contraction(node)
            else:
                self._take_affine(node)

    def picked(self, way: Where) -> Callable[[Group, Member], bool]:
        """Says of a group's member whether it belongs to a cut."""
        return lambda _, member: bool(self.labels[way][_labels(member)].all())

    def has(self, group: Group, way: Where) -> bool:
        """Whether a group has such a cut."""
        picked = self.picked(way)
        return any(picked(group, member) for member in group.members)

    def _take_contraction(self, node: Node) -> None:
        """Weight axes that the output follows are a producer's, what is summed over a consumer's.

        Rows of a grouped convolution scale what comes in with the channel, so its weights are on
        neither side; its bias is on the producers'.
        """
        given = self._on_outputs(node)
        grouped = int(node.attr("group", 1)) > 1
        for i, layers in self._parameters(node):
            added = i in operator(node.op).biases
            for layer in layers:
                follows = added or bool(np.isin(layer, given).any())
                if follows and grouped and not added:
                    continue
                self.labels["producers" if follows else "consumers"][layer] = True

    def _take_affine(self, node: Node) -> None:
        """A norm's scale and shift, or Mul and Add by constants, unless a later norm undoes it."""
        shift = node.op in ("Add", "Sub")
        scale = node.op in ("Mul", "Div")
        positions = (0, 1) if shift or scale else operator(node.op).affine
        found = [(i, layers) for i, layers in self._parameters(node) if i in positions]
        if len(found) == len(node.inputs) or not found:
            return  # computed from constants alone
        layers = [layer for _, each in found for layer in each]
        if shift:
            for layer in layers:
                self.labels["producers"][layer] = True
            if not self._is_behind_a_scale(node):
                return
        components = self._components(layers)
        if components.size and not self._meets_norm(node, components):
            for layer in layers:
                self.labels["norms"][layer] = True

    def _is_behind_a_scale(self, node: Node) -> bool:
        producers = self._coupling.model.graph.producers
        before = [producers[name] for name in node.inputs if name in producers]
        return any(each.op in ("Mul", "Div") and self._parameters(each) for each in before)

    def _meets_norm(self, node: Node, components: Labels) -> bool:
        """Whether what a node gives reaches another norm before it reaches a contraction."""
        graph = self._coupling.model.graph
        pending, seen = [name for name in node.outputs if name], set()
        while pending:
            for use in graph.uses.get(pending.pop(), ()):
                if use.node in seen:
                    continue
                seen.add(use.node)
                reader = graph.nodes[use.node]
                affine = operator(reader.op).affine
                if affine and use.position not in affine:
                    return True
                if contracts(reader.op) and int(reader.attr("group", 1)) == 1:
                    continue
                for name in filter(None, reader.outputs):
                    layers = self._coupling.layers.get(name, [])
                    if np.isin(components, self._components(layers)).any():
                        pending.append(name)
        return False

    def _parameters(self, node: Node) -> list[tuple[int, list[Labels]]]:
        """Positions of inputs that are computed from parameters alone, with their layers."""
        constants = self._coupling.model.constants
        return [
            (i, [layer[layer > 0] for layer in self._coupling.layers_read(Use(node.index, i))])
            for i, name in enumerate(node.inputs)
            if name and name in constants
        ]

    def _on_outputs(self, node: Node) -> Labels:
        layers = [x for name in node.outputs for x in self._coupling.layers.get(name, [])]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *[x.ravel() for x in layers]]))

    def _components(self, layers: list[Labels]) -> Labels:
        at = [self._coupling.components.at(layer.ravel()) for layer in layers]
        found = np.unique(np.concatenate([np.zeros(0, np.int64), *at]))
        return np.asarray(found[~self._coupling.components.kept[found]])


def _labels(member: Member) -> Labels:
    return member.axis.start + member.indices
