"""Comparing two models around operators whose outputs need not agree.

Some operators would make a right model look wrong: those that draw random numbers, those at which a
removal is not exact (a norm over fewer channels is another norm), and those that jump (TopK,
rounding: a difference in the last bit picks another entry; a determinant near zero is what rounding
leaves). Their outputs are *fixed*: taken from the dense run, less what goes, and fed to both. What
they read is compared like an output, so that everything before, between and after them is proven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spa.coupling.couple import Cut
from spa.coupling.operators import operator
from spa.graph.deferred import cut_slices
from spa.graph.model import Array, Model
from spa.graph.nodes import RANDOM_OPS, Node


@dataclass(frozen=True)
class Fixing:
    """Which nodes' outputs are fixed, and what is compared besides the model's outputs.

    Attributes:
        nodes: the nodes.
        outputs: their outputs.
        watched: what they read and other nodes compute, and whatever else shall be compared.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    watched: tuple[str, ...]


def fixing(model: Model, nodes: Sequence[Node], also: Sequence[str] = ()) -> Fixing | None:
    """Prepares to fix the outputs of some nodes; None where one cannot be fed as an array.

    Args:
        model: the dense model.
        nodes: the nodes.
        also: further tensors to compare.
    """
    outputs = [name for node in nodes for name in node.outputs if name]
    if any(name not in model.observed.dtypes for name in outputs):
        return None
    made = set(made_tensors(model))
    read = dict.fromkeys([*(name for node in nodes for name in node.inputs), *also])
    return Fixing(tuple(nodes), tuple(outputs), tuple(name for name in read if name in made))


def made_tensors(model: Model) -> list[str]:
    """Tensors that nodes compute from the model's inputs and NumPy can hold, in order."""
    return [
        name
        for node in model.graph.nodes
        for name in node.outputs
        if name in model.observed.dtypes and name not in model.constants
    ]


def random_nodes(model: Model) -> list[Node]:
    """Nodes that draw random numbers."""
    return [node for node in model.graph.nodes if node.op in RANDOM_OPS]


def jumping_nodes(model: Model) -> list[Node]:
    """Nodes whose output jumps, and depends on the model's inputs."""
    return [
        node
        for node in model.graph.nodes
        if operator(node.op).jumps and not model.constants.issuperset(node.outputs)
    ]


def inexact_nodes(model: Model, cut: Cut) -> list[Node]:
    """Nodes at which the removal of what goes is not exact."""
    found = {
        remark.node
        for remark in cut.coupling.inexact
        if remark.node is not None and cut.removed[remark.labels].any()
    }
    return [model.graph.nodes[i] for i in sorted(found)]


def kept_of(value: Array, cut: Cut, name: str) -> Array | None:
    """What stays of a tensor of the dense model, at any sizes; None where that cannot be told."""
    masks = []
    for mask, size in zip(cut.of_tensor(name), value.shape, strict=True):
        fitted = None if mask is None else _fitted(mask, size)
        if mask is not None and fitted is None:
            return None
        masks.append(fitted)
    return cut_slices(value, tuple(masks))


def _fitted(mask: Array, size: int) -> Array | None:
    """The mask of an axis that has another size than in the example, as heads times batch has."""
    if mask.size == size:
        return mask
    common = math.gcd(mask.size, size)
    for part in (n for n in range(1, common + 1) if common % n == 0):
        if np.array_equal(np.resize(mask[:part], mask.size), mask):
            return np.resize(mask[:part], size)
        rows = mask.reshape(part, -1)
        if (rows == rows[:, :1]).all():
            return np.repeat(rows[:, 0], size // part)
    return None
