"""Elementwise operators: the axes of all operands, aligned by broadcasting, shrink together.

Axes are taken in blocks: axes that one layer follows together belong to one block.
1. An axis of size 1 couples with nothing; what only one operand has passes as it is.
2. An operand with an axis of size over 1 that no layer of its follows keeps that axis in all.
3. In a block of one axis, all operands' layers are equal.
4. In a block of several, layers with the same axes are equal; where they differ (one operand
   follows rows and columns with one layer, another follows rows alone), the block shrinks along one
   axis, and which one is a choice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from spa.coupling.components import Pairs
from spa.coupling.labels import Layer, along, first_slices, lift, lifted, support
from spa.coupling.tracker import Shape, Tracker, Way
from spa.graph.nodes import Node

KEPT_OPERAND = "another operand's axis of the same size is kept"

# Ways to shrink that are tried along one axis where operands have several layers there.
MOST_COMBINATIONS = 8

# An operand: its shape and its layers.
Operand = tuple[Shape, Sequence[Layer]]


def align(
    tracker: Tracker,
    node: Node,
    operands: Sequence[Operand],
    rank: int,
    prefer: Sequence[int] | None = None,
) -> list[Layer]:
    """States the equalities of an elementwise operator.

    Args:
        tracker: the pass.
        node: the operator.
        operands: shape and layers of every operand.
        rank: rank of the output.
        prefer: axes that a choice prefers to shrink along; None where there is no preference.

    Returns:
        Layers of the output.
    """
    simple = _along_one_axis(operands, rank)
    if simple is not None:
        tracker.equal_to_all(simple[0], simple[1:], node)
        return simple[:1]
    full = [
        ((1,) * (rank - len(shape)) + tuple(shape), lifted(layers, rank))
        for shape, layers in operands
    ]
    result: list[Layer] = []
    for block in _axis_blocks([layer for _, layers in full for layer in layers]):
        result += _align_block(tracker, node, full, block, prefer)
    return result


def _along_one_axis(operands: Sequence[Operand], rank: int) -> list[Layer] | None:
    """The operands' layers where each has one, along one and the same axis: nearly always."""
    found: list[Layer] = []
    for _, layers in operands:
        if len(layers) != 1:
            return None
        layer = layers[0] if layers[0].ndim == rank else lift(layers[0], rank)
        if found:
            if layer.shape != found[0].shape:
                return None
        elif layer.size == 1 or layer.size not in layer.shape:
            return None
        found.append(layer)
    return found


def _axis_blocks(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """Joins axes that any layer follows together."""
    if all(layer.size in layer.shape for layer in layers):  # each follows one
        return [(k,) for k in sorted({layer.shape.index(layer.size) for layer in layers})]
    merged: list[set[int]] = []
    for layer in layers:
        axes = set(support(layer))
        touching = [block for block in merged if block & axes]
        merged = [block for block in merged if not block & axes]
        merged.append(axes.union(*touching))
    return sorted(tuple(sorted(block)) for block in merged)


def _extends(shape: Shape, block: tuple[int, ...]) -> bool:
    if len(block) == 1:  # nearly always
        return shape[block[0]] > 1
    return any([shape[k] > 1 for k in block])


def _align_block(
    tracker: Tracker,
    node: Node,
    operands: Sequence[tuple[Shape, list[Layer]]],
    block: tuple[int, ...],
    prefer: Sequence[int] | None,
) -> list[Layer]:
    # Operands that extend over the block at all, with their layers in it.
    extended = [
        (shape, [layer for layer in layers if _extends(layer.shape, block)])
        for shape, layers in operands
        if _extends(shape, block)
    ]
    mine = [layers for _, layers in extended]
    if len(mine) == 1:
        return mine[0]
    if len(block) == 1:
        if not all(mine):
            for layers in mine:
                tracker.keep_layers(layers, node, KEPT_OPERAND)
            return []
        (axis,) = block
        rank = len(operands[0][0])
        vectors = [tracker.vector(layers, axis, shape[axis], node) for shape, layers in extended]
        tracker.equal_to_all(vectors[0], vectors[1:], node)
        return [along(vectors[0], axis, rank)]
    same = all(len(layers) == 1 and support(layers[0]) == block for layers in mine)
    if same:
        for layers in mine[1:]:
            tracker.equal(mine[0][0], layers[0], node)
        return [mine[0][0]]
    return _choose_axis(tracker, node, extended, block, prefer)


def _choose_axis(
    tracker: Tracker,
    node: Node,
    operands: Sequence[tuple[Shape, list[Layer]]],
    block: tuple[int, ...],
    prefer: Sequence[int] | None,
) -> list[Layer]:
    """The block shrinks along one axis.

    Layers that do not follow it are kept, and so is an operand whose axis nothing follows. Where
    several layers of an operand follow it, one of them does the shrinking and the others are kept.
    The output has the layer of an operand that covers the whole block, where there is one, so that
    what is chosen further on reaches back to it.
    """
    rank = len(operands[0][0])
    cover = next(
        (ls[0] for _, ls in operands if len(ls) == 1 and support(ls[0]) == block),
        None,
    )
    if cover is None:
        size = {k: max(shape[k] for shape, _ in operands) for k in block}
        output = [along(tracker.made_up(node, k, size[k]), k, rank) for k in block]
    else:
        output = [cover]
    alternatives: list[Way] = []
    preferred: list[int] = []
    for axis in block:
        fixed: list[Pairs] = []
        if cover is None:
            target = next(layer for layer in output if layer.shape[axis] > 1)
            fixed += [(layer, np.zeros_like(layer)) for layer in output if layer is not target]
        else:
            target = first_slices(cover, axis)
        following: list[list[Layer]] = []
        for shape, layers in operands:
            following.append([layer for layer in layers if layer.shape[axis] > 1])
            if shape[axis] > 1 and not following[-1]:
                fixed.append((target, np.zeros_like(target)))
            fixed += [(layer, np.zeros_like(layer)) for layer in layers if layer.shape[axis] == 1]
        # One governing layer per operand that has any; few have more than one.
        candidates = [layers for layers in following if layers]
        choices = itertools.product(*(range(len(layers)) for layers in candidates))
        for governing in itertools.islice(choices, MOST_COMBINATIONS):
            pairs = list(fixed)
            for chosen, layers in zip(governing, candidates, strict=True):
                pairs += [
                    (layer, target if i == chosen else np.zeros_like(layer))
                    for i, layer in enumerate(layers)
                ]
            if prefer is not None and axis in prefer:
                preferred.append(len(alternatives))
            alternatives.append((f"axis {axis}", pairs))
    tracker.choose(alternatives, preferred=None if prefer is None else preferred)
    return output
