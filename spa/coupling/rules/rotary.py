"""RotaryEmbedding, of the standard domain (opset 23 on) and of com.microsoft.

x: (B, h, T, d) or (B, T, h*d)   cos, sin: (positions, r/2) or (B, T, r/2)   r <= d channels rotate

Two channels rotate together, r/2 apart or next to each other, with their column of the tables. So
heads go, or the same pair of every head; channels that do not rotate go alone.
"""

from __future__ import annotations

from spa.coupling.align import Operand, align
from spa.coupling.attend import TOKENS, Heads, merge_heads, split_heads
from spa.coupling.labels import Layer
from spa.coupling.rules.attention import heads_left
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

STANDARD, MICROSOFT = "RotaryEmbedding", "com.microsoft::RotaryEmbedding"


@rule(STANDARD, MICROSOFT)
def rotary(node: Node, tracker: Tracker) -> None:
    tables = _tables(node)
    if node.attr("is_packed_batching", 0):
        tracker.keep_inputs(node, "it rotates a ragged batch")
        tracker.write(node, [])
        return
    for i in range(1, len(node.inputs)):
        if i not in tables and node.has_input(i):
            tracker.keep_layers(tracker.read(node, i), node, TOKENS)
    shape = tracker.shape(node, 0)
    half = tracker.shape(node, tables[0])[-1]
    x = _heads(node, tracker)
    x = Heads(x.shape, tracker.keep_axes(x.layers, [2], node, TOKENS), x.is_zero)
    operands: list[Operand] = [((*x.shape[:2], 1, half), _pairs(node, tracker, x, half))]
    for i in tables:
        wide = tracker.shape(node, i)
        leading = tuple(range(len(wide) - 1))
        layers = tracker.keep_axes(tracker.read(node, i), leading, node, TOKENS)
        operands.append(((half,), [layer.reshape(-1) for layer in layers]))
    align(tracker, node, operands, 4)
    tracker.write(node, x.layers if len(shape) == 4 else merge_heads(x))
    if x.is_zero:
        tracker.zeros.add(node.outputs[0])


@resize(STANDARD, MICROSOFT)
def resize_rotary(node: Node, cutter: Cutter) -> None:
    count = node.attr("num_heads", 0)
    if count:
        left = cutter.input_shape(node, 0)[1]
        if len(cutter.old_shape(node.inputs[0])) == 3:
            left, _ = heads_left(cutter.input_kept(node, 0, 2), count)
        if left != count:
            cutter.set_attr(node, "num_heads", left)
    rotating = node.attr("rotary_embedding_dim", 0)
    new = 2 * cutter.input_shape(node, _tables(node)[0])[-1]
    if rotating and rotating != new:
        cutter.set_attr(node, "rotary_embedding_dim", new)


def _tables(node: Node) -> tuple[int, int]:
    """Positions of the cosines and sines."""
    return (1, 2) if node.op == STANDARD else (2, 3)


def _heads(node: Node, tracker: Tracker) -> Heads:
    shape, layers = tracker.shape(node, 0), tracker.read(node, 0)
    is_zero = node.inputs[0] in tracker.zeros
    if len(shape) == 4:
        return Heads(shape, layers, is_zero)
    # Without a count of heads, the tables are as wide as half a head.
    heads = node.attr("num_heads", 0) or shape[2] // (2 * tracker.shape(node, _tables(node)[0])[-1])
    return split_heads(tracker, (shape, layers), int(heads), is_zero=is_zero)


def _pairs(node: Node, tracker: Tracker, x: Heads, half: int) -> list[Layer]:
    """Layers of the rotating channels, (B, h, 1, r/2), once both of every pair are equal."""
    result = []
    for layer in x.layers:
        if layer.shape[3] == 1:
            result.append(layer)
            continue
        rotating = layer[..., : 2 * half]
        if node.attr("interleaved", 0):
            first, second = rotating[..., 0::2], rotating[..., 1::2]
        else:
            first, second = rotating[..., :half], rotating[..., half:]
        tracker.equal(first, second, node)
        result.append(first)
    return result
