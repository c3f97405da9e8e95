"""Fused attention, step by step on label layers.

q: (B, h, T, d)   k: (B, g, S, d)   v: (B, g, S, e)   bias: broadcasts to (B, h, T, S)
y: (B, h, T, e) = softmax(scale * q k^T + bias) v, where h/g heads of q share one of k and v

Two contractions of activations (`spa.coupling.contract`) with an elementwise sum between them, so a
fused operator couples what the chain of plain operators would: heads go, or the same index of every
head (of q and k together, of v with the output), as the user prefers. A head of k and v goes with
the heads of q that share it; one that all share stays. Tokens are kept: masks, caches and causality
count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spa.coupling.align import Operand, align
from spa.coupling.contract import contract_operands
from spa.coupling.labels import Layer, reshape_layer
from spa.coupling.tracker import Shape, Tracker
from spa.graph.nodes import Node

TOKENS = "attention runs over the tokens along this axis"


@dataclass(frozen=True)
class Heads:
    """An operand of attention.

    Attributes:
        shape: (B, heads, tokens, head size).
        layers: its layers.
        is_zero: whether its removed entries are zero in the zeroed dense model.
    """

    shape: Shape
    layers: Sequence[Layer]
    is_zero: bool


def split_heads(tracker: Tracker, operand: Operand, heads: int, *, is_zero: bool) -> Heads:
    """Sees (B, T, heads*d) as (B, heads, T, d)."""
    shape, layers = operand
    batch, tokens, channels = shape
    split = (batch, tokens, heads, channels // heads)
    seen = [reshape_layer(layer, shape, split) for layer in layers]
    for layer in seen:
        tracker.open_grid(layer)
    return Heads(_swapped(split), [layer.transpose(0, 2, 1, 3) for layer in seen], is_zero)


def merge_heads(heads: Heads) -> list[Layer]:
    """Layers of (B, heads, T, d) as those of (B, T, heads*d)."""
    split = _swapped(heads.shape)
    merged = (*split[:2], split[2] * split[3])
    return [reshape_layer(layer.transpose(0, 2, 1, 3), split, merged) for layer in heads.layers]


def keep_head_dim(tracker: Tracker, node: Node, heads: Heads, reason: str) -> Heads:
    """Leaves the heads alone to go."""
    return replace(heads, layers=tracker.keep_axes(heads.layers, [3], node, reason))


def attend(
    tracker: Tracker,
    node: Node,
    q: Heads,
    k: Heads,
    v: Heads,
    biases: Sequence[Operand] = (),
    *,
    per_example: bool = False,
) -> tuple[Heads, list[Layer]]:
    """States what attention couples.

    Args:
        tracker: the pass.
        node: the operator.
        q: the queries.
        k: the keys.
        v: the values.
        biases: what is added to the scores, or masks them.
        per_example: whether other inputs hold a number for every example, so that all stay.

    Returns:
        The output, and the layers of the scores (B, h, T, S).
    """
    whole = [0, 2] if per_example else [2]
    q, k, v = (
        replace(x, layers=tracker.keep_axes(x.layers, whole, node, TOKENS)) for x in (q, k, v)
    )
    batch, heads, tokens, _ = q.shape
    k, v = (_repeated(x, heads) for x in (k, v))
    # Over all axes: (B, h, T, d, S).
    left = ((*q.shape, 1), [layer[..., None] for layer in q.layers])
    right = (
        (*k.shape[:2], 1, k.shape[3], k.shape[2]),
        [layer.transpose(0, 1, 3, 2)[:, :, None] for layer in k.layers],
    )
    scores, _ = contract_operands(
        tracker, node, [left, right], 5, summed=[3], batch=[0, 1], zero=(q.is_zero, k.is_zero)
    )
    shape = (batch, heads, tokens, k.shape[2])
    operands: list[Operand] = [(shape, [layer.squeeze(3) for layer in scores])]
    for size, layers in biases:
        last = range(max(0, len(size) - 2), len(size))
        operands.append((size, tracker.keep_axes(layers, last, node, TOKENS)))
    scores = align(tracker, node, operands, 4)
    # Over all axes: (B, h, T, S, e).
    left = ((*shape, 1), [layer[..., None] for layer in scores])
    right = (
        (*v.shape[:2], 1, *v.shape[2:]),
        [layer[:, :, None] for layer in v.layers],
    )
    mixed, is_zero = contract_operands(
        tracker, node, [left, right], 5, summed=[3], batch=[0, 1], zero=(False, v.is_zero)
    )
    y = Heads((batch, heads, tokens, v.shape[3]), [layer.squeeze(3) for layer in mixed], is_zero)
    return y, scores


def _repeated(x: Heads, heads: int) -> Heads:
    """A head for each of the queries'; a single one is broadcast."""
    batch, own, tokens, size = x.shape
    if own in (1, heads):
        return x
    layers = [
        np.repeat(layer, heads // own, axis=1) if layer.shape[1] > 1 else layer
        for layer in x.layers
    ]
    return Heads((batch, heads, tokens, size), layers, x.is_zero)


def _swapped(shape: Shape) -> Shape:
    a, b, c, d = shape
    return a, c, b, d
