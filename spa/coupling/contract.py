"""Contractions: an elementwise product over all axes of both operands, then a sum over some.

Seen that way, MatMul and Einsum need no special cases: the operands are aligned
(`spa.coupling.align`), and the sum takes in what follows the summed axes (`spa.coupling.mixing`).
With a weight among the operands that is exact; with two activations only where the removed entries
are zero.

Where two activations are contracted and one layer follows a summed axis and others (the channels of
q and k, seen as heads x head_dim), what shrinks is attention's choice: heads go, or the same index
of every head. The user prefers one (``Tracker.attention``), or keeps both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa.coupling.align import Operand, align
from spa.coupling.labels import Layer, support
from spa.coupling.mixing import fold
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
    constant = [tracker.is_constant(node, i) for i in range(len(node.inputs))]
    zero = [tracker.is_zeroed(node, i) for i in range(len(node.inputs))]
    layers, is_zero = contract_operands(
        tracker, node, operands, rank, summed=summed, batch=batch, zero=zero, weighted=any(constant)
    )
    if is_zero:
        tracker.zeros.add(node.outputs[0])
    return layers


def contract_operands(
    tracker: Tracker,
    node: Node,
    operands: Sequence[Operand],
    rank: int,
    *,
    summed: Sequence[int],
    batch: Sequence[int],
    zero: Sequence[bool],
    weighted: bool = False,
) -> tuple[list[Layer], bool]:
    """As `contract`, of operands that need not be the node's own inputs.

    Args:
        tracker: the pass.
        node: the operator.
        operands: shape and layers of both operands, over all axes.
        rank: number of all axes.
        summed: axes that are summed over.
        batch: axes that both operands and the output have.
        zero: whether an operand's removed entries are zero in the zeroed dense model.
        weighted: whether a weight is among the operands.

    Returns:
        Layers of the output, and whether its removed entries are zero.
    """
    prefer: tuple[int, ...] | None = None
    if not weighted:
        if tracker.attention == "none":
            operands = [(shape, _kept(tracker, node, layers)) for shape, layers in operands]
        others = [k for k in range(rank) if k not in batch]
        prefer = tuple(batch) if tracker.attention == "heads" else tuple(others)
    is_zero = _is_zero(operands, zero, {k - rank for k in summed})
    reason = None if any(zero) else ACTIVATIONS
    aligned = align(tracker, node, operands, rank, prefer=prefer)
    if prefer is not None:
        _choose_layers(tracker, node, aligned, batch)
    result: list[Layer] = []
    for layer in aligned:
        left = fold(tracker, node, layer, summed, reason=reason, prefer=prefer)
        if left is not None:
            result.append(left)
    return result, is_zero


def _choose_layers(
    tracker: Tracker, node: Node, layers: Sequence[Layer], batch: Sequence[int]
) -> None:
    """Where heads and what is in them have layers of their own, the user's choice holds as well."""
    of_heads = [layer for layer in layers if set(support(layer)) <= set(batch)]
    inside = [layer for layer in layers if not set(support(layer)) & set(batch)]
    if of_heads and inside:
        ways: list[Way] = [
            (name, [(layer, np.zeros_like(layer)) for layer in kept])
            for name, kept in (("heads", inside), ("head_dim", of_heads))
        ]
        tracker.choose(ways, preferred=[0 if tracker.attention == "heads" else 1])


def _is_zero(operands: Sequence[Operand], zero: Sequence[bool], summed: set[int]) -> bool:
    """The output is zero where zeroed weights and operands that are zero follow its axes.

    Axes are counted from the last, as operands may have fewer leading ones.
    """
    known: list[set[int]] = []
    other: list[set[int]] = []
    for (_, layers), flag in zip(operands, zero, strict=True):
        followed = {k - layer.ndim for layer in layers for k in support(layer)} - summed
        (known if flag else other).append(followed)
    return product_is_zero(known, other)


def _kept(tracker: Tracker, node: Node, layers: Sequence[Layer]) -> list[Layer]:
    tracker.keep_layers(layers, node, "attention is kept (--attention none)")
    return []
