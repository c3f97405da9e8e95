"""Contractions: an elementwise product over all axes of both operands, then a sum over some.

Seen that way, MatMul and Einsum need no special cases: the operands are aligned
(`spa.coupling.align`), and the sum takes in what follows the summed axes.
1. A layer that follows summed axes alone is used up. With a weight among the operands that is
   exact; with two activations only where the removed entries are zero.
2. A layer over a summed axis and others (the channels of q and k, seen as heads x head_dim) shrinks
   along the others, with the output, or along the summed one: a choice.

Where two activations are contracted, that choice is attention's: heads go, or the same index of
every head. The user prefers one (``Tracker.attention``), or keeps both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa.coupling.align import Operand, align
from spa.coupling.components import Pairs
from spa.coupling.labels import Layer, first_slices, support
from spa.coupling.tracker import Tracker, Way
from spa.coupling.zeros import product_is_zero
from spa.graph.nodes import Node

ACTIVATIONS = "two activations are contracted over this axis"


def contract(
    tracker: Tracker,
    node: Node,
    operands: Sequence[Operand],
    rank: int,
    *,
    summed: Sequence[int],
    batch: Sequence[int],
) -> list[Layer]:
    """States the equalities of a contraction.

    Args:
        tracker: the pass.
        node: the operator.
        operands: shape and layers of both operands, over all axes (size 1 where one has none).
        rank: number of all axes.
        summed: axes that are summed over.
        batch: axes that both operands and the output have.

    Returns:
        Layers of the output, over all axes; size 1 on the summed ones.
    """
    weighted = any(tracker.is_constant(node, i) for i in range(len(node.inputs)))
    if not weighted and tracker.attention == "none":
        operands = [(shape, _kept(tracker, node, layers)) for shape, layers in operands]
    prefer: tuple[int, ...] | None = None
    if not weighted:
        others = [k for k in range(rank) if k not in batch]
        prefer = tuple(batch) if tracker.attention == "heads" else tuple(others)
    exact = weighted or any(name in tracker.zeros for name in node.inputs)
    _note_zeros(tracker, node, operands, {k - rank for k in summed})
    result: list[Layer] = []
    for layer in align(tracker, node, operands, rank, prefer=prefer):
        followed = [k for k in summed if layer.shape[k] > 1]
        rest = [k for k in support(layer) if k not in summed]
        if not followed:
            result.append(layer)
        elif rest:  # 2
            result.append(_sum(tracker, node, layer, followed, rest, prefer, exact))
        elif not exact:  # 1
            tracker.mark_inexact(layer, node, ACTIVATIONS)
    return result


def _note_zeros(
    tracker: Tracker, node: Node, operands: Sequence[Operand], summed: set[int]
) -> None:
    """The output is zero where zeroed weights and operands that are zero follow its axes.

    Axes are counted from the last, as operands may have fewer leading ones.
    """
    zero: list[set[int]] = []
    other: list[set[int]] = []
    for i, (_, layers) in enumerate(operands):
        followed = {k - layer.ndim for layer in layers for k in support(layer)} - summed
        is_zero = tracker.is_constant(node, i) or node.inputs[i] in tracker.zeros
        (zero if is_zero else other).append(followed)
    if product_is_zero(zero, other):
        tracker.zeros.add(node.outputs[0])


def _sum(
    tracker: Tracker,
    node: Node,
    layer: Layer,
    followed: Sequence[int],
    rest: Sequence[int],
    prefer: tuple[int, ...] | None,
    exact: bool,
) -> Layer:
    shape = [layer.shape[k] if k in rest else 1 for k in range(layer.ndim)]
    made_up = tracker.made_up(node, rest[0], int(np.prod(shape))).reshape(shape)
    alternatives: list[Way] = [("with the output", [(layer, made_up)], None)]
    for axis in followed:
        first = first_slices(layer, axis)
        pairs: list[Pairs] = [(layer, first), (made_up, np.zeros_like(made_up))]
        alternatives.append((f"axis {axis}", pairs, None if exact else (first, ACTIVATIONS)))
    preferred: Sequence[int] | None = None
    if prefer is not None:
        heads = bool(set(rest) & set(prefer))
        preferred = [0] if heads else list(range(1, len(alternatives)))
    tracker.choose(node, alternatives, preferred=preferred)
    return made_up


def _kept(tracker: Tracker, node: Node, layers: Sequence[Layer]) -> list[Layer]:
    tracker.keep_layers(layers, node, "attention is kept (--attention none)")
    return []
