"""Elementwise operators: the axes of all operands, aligned by broadcasting, shrink together.

Axes are taken in blocks: axes that one layer follows together belong to one block.
1. An axis of size 1 couples with nothing.
2. An operand with an axis of size over 1 that no layer of its follows keeps that axis in all.
3. In a block of one axis, all operands' layers are equal.
4. In a block of several, layers with the same axes are equal; where they differ (one operand
   follows rows and columns with one layer, another follows rows alone), the block shrinks along one
   axis, and which one is a choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa.coupling.components import Pairs
from spa.coupling.labels import Labels, Layer, support
from spa.coupling.tracker import Shape, Tracker, lifted
from spa.graph.nodes import Node

KEPT_OPERAND = "another operand's axis of the same size is kept"

# An operand: its shape and its layers.
Operand = tuple[Shape, Sequence[Layer]]


def align(tracker: Tracker, node: Node, operands: Sequence[Operand], rank: int) -> list[Layer]:
    """States the equalities of an elementwise operator.

    Args:
        tracker: the pass.
        node: the operator.
        operands: shape and layers of every operand.
        rank: rank of the output.

    Returns:
        Layers of the output.
    """
    full = [
        ((1,) * (rank - len(shape)) + tuple(shape), lifted(layers, rank))
        for shape, layers in operands
    ]
    result: list[Layer] = []
    for block in _axis_blocks([layer for _, layers in full for layer in layers]):
        result += _align_block(tracker, node, full, block)
    return result


def _axis_blocks(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """Joins axes that any layer follows together."""
    merged: list[set[int]] = []
    for layer in layers:
        axes = set(support(layer))
        touching = [block for block in merged if block & axes]
        merged = [block for block in merged if not block & axes]
        merged.append(axes.union(*touching))
    return sorted(tuple(sorted(block)) for block in merged)


def _align_block(
    tracker: Tracker,
    node: Node,
    operands: Sequence[tuple[Shape, list[Layer]]],
    block: tuple[int, ...],
) -> list[Layer]:
    # Operands that extend over the block at all, with their layers in it.
    extended = [
        (shape, [layer for layer in layers if set(support(layer)) & set(block)])
        for shape, layers in operands
        if any(shape[k] > 1 for k in block)
    ]
    mine = [layers for _, layers in extended]
    if len(block) == 1:
        if not all(mine):
            for layers in mine:
                tracker.keep_layers(layers, node, KEPT_OPERAND)
            return []
        for layers in mine:
            for layer in layers:
                tracker.equal(mine[0][0], layer, node)
        return [mine[0][0]]
    same = all(len(layers) == 1 and support(layers[0]) == block for layers in mine)
    if same:
        for layers in mine[1:]:
            tracker.equal(mine[0][0], layers[0], node)
        return [mine[0][0]]
    return _choose_axis(tracker, node, extended, block)


def _choose_axis(
    tracker: Tracker,
    node: Node,
    operands: Sequence[tuple[Shape, list[Layer]]],
    block: tuple[int, ...],
) -> list[Layer]:
    """The block shrinks along one axis.

    Layers that do not follow it are kept, and so is an operand whose axis nothing follows.
    """
    rank = len(operands[0][0])
    size = {k: max(shape[k] for shape, _ in operands) for k in block}
    fresh = {k: tracker.made_up(node, k, size[k]) for k in block}
    alternatives = []
    for axis in block:
        pairs: list[Pairs] = []
        target = fresh[axis].reshape([-1 if k == axis else 1 for k in range(rank)])
        for other in block:
            if other != axis:
                pairs.append((fresh[other], np.zeros_like(fresh[other])))
        for shape, layers in operands:
            if shape[axis] > 1 and not any(layer.shape[axis] > 1 for layer in layers):
                pairs.append((fresh[axis], np.zeros_like(fresh[axis])))
            for layer in layers:
                follows = layer.shape[axis] > 1
                pairs.append((layer, target) if follows else (layer, _zeros(layer)))
        alternatives.append((f"axis {axis}", pairs))
    tracker.choose(node, alternatives)
    return [fresh[k].reshape([-1 if a == k else 1 for a in range(rank)]) for k in block]


def _zeros(layer: Layer) -> Labels:
    return np.zeros_like(layer)
