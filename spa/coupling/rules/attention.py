"""Fused attention: standard and com.microsoft operators (`spa.coupling.attend` says what couples).

1. Attention (opset 23 on)        q, k, v: (B, h, T, d), or (B, T, h*d) with the counts of heads
2. com.microsoft Attention        x: (B, T, I)   W: (I, q + k + v)   bias: (q + k + v,)
3. com.microsoft MultiHeadAttention    q, k, v: (B, T, h*d)   bias: (q + k + v,)
4. com.microsoft GroupQueryAttention   q, k, v: (B, T, h*d), or all three in q

Past keys and values go before the new ones, so what follows one follows the other; where they are
inputs of the model, their heads are kept. Head counts follow what goes. Where head size shrinks,
the scale of the softmax is written out, so that it stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spa.coupling.align import Operand, align
from spa.coupling.attend import TOKENS, Heads, attend, keep_head_dim, merge_heads, split_heads
from spa.coupling.contract import ACTIVATIONS
from spa.coupling.labels import along
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

PACKED = "its operands are packed in one tensor, which ONNX Runtime does not run on a CPU"
ONE_HEAD_SIZE = "queries, keys and values of GroupQueryAttention have one head size, in eights"


@rule("Attention")
def attention(node: Node, tracker: Tracker) -> None:  # 1
    q = _operand(node, tracker, 0, node.attr("q_num_heads"))
    k, v = (_operand(node, tracker, i, node.attr("kv_num_heads")) for i in (1, 2))
    k = _with_past(node, tracker, k, past=4, present=1)
    v = _with_past(node, tracker, v, past=5, present=2)
    _keep(node, tracker, [6])
    biases = _given(node, tracker, [3])
    y, scores = attend(tracker, node, q, k, v, biases, per_example=node.has_input(6))
    _write(node, tracker, y)
    tracker.write(node, scores, 3)


@resize("Attention")
def resize_attention(node: Node, cutter: Cutter) -> None:
    heads = node.attr("q_num_heads")
    if len(cutter.old_shape(node.inputs[0])) == 4:
        old, new = cutter.old_shape(node.inputs[0])[3], cutter.input_shape(node, 0)[3]
    else:
        old = cutter.old_shape(node.inputs[0])[2] // heads
        left, new = heads_left(cutter.input_kept(node, 0, 2), heads)
        _set(node, cutter, "q_num_heads", left)
        own, _ = heads_left(cutter.input_kept(node, 1, 2), node.attr("kv_num_heads"))
        _set(node, cutter, "kv_num_heads", own)
    if old != new and node.attr("scale") is None:
        cutter.set_attr(node, "scale", float(1 / np.sqrt(old)))


@rule("com.microsoft::Attention", weights=(1, 2), biases=(2,))
def packed_attention(node: Node, tracker: Tracker) -> None:  # 2
    if node.attr("do_rotary", 0):
        _keep_all(node, tracker, "ONNX Runtime does not rotate inside Attention on a CPU")
        return
    if node.has_input(4) or (len(node.outputs) > 1 and node.outputs[1]):
        _keep_all(node, tracker, "the state of past tokens holds its heads")
        return
    x, w = tracker.shape(node, 0), tracker.shape(node, 1)
    layers = tracker.keep_axes(tracker.read(node, 0), (0, 1), node, TOKENS)
    contracted = tracker.vector(layers, 2, x[2], node)
    tracker.equal(contracted, tracker.vector(tracker.read(node, 1), 0, w[0], node), node)
    zeroed = [tracker.is_zeroed(node, i) for i in (1, 2) if node.has_input(i)]
    if not zeroed[0] and node.inputs[0] not in tracker.zeros:
        tracker.mark_inexact(contracted, node, ACTIVATIONS)
    channels = tracker.vector(tracker.read(node, 1), 1, w[1], node)
    if node.has_input(2):
        tracker.equal(channels, tracker.vector(tracker.read(node, 2), 0, w[1], node), node)
    heads = int(node.attr("num_heads"))
    parts = np.split(channels, np.cumsum(_hidden_sizes(node, w[1]))[:-1])
    q, k, v = (
        split_heads(
            tracker,
            ((*x[:2], part.size), [along(part, 2, 3)] if part.size > 1 else []),
            heads,
            is_zero=all(zeroed),
        )
        for part in parts
    )
    _keep(node, tracker, [3])
    y, _ = attend(tracker, node, q, k, v, _given(node, tracker, [5]))
    _write(node, tracker, y)


@resize("com.microsoft::Attention")
def resize_packed_attention(node: Node, cutter: Cutter) -> None:
    heads = int(node.attr("num_heads"))
    kept = cutter.input_kept(node, 1, 1)
    sizes = _hidden_sizes(node, kept.size)
    parts = np.split(kept, np.cumsum(sizes)[:-1])
    left, size = heads_left(parts[0], heads)
    _set(node, cutter, "num_heads", left)
    new = [int(part.sum()) for part in parts]
    if new != sizes and (node.attr("qkv_hidden_sizes") or len(set(new)) > 1):
        cutter.set_attr(node, "qkv_hidden_sizes", new)
    _pin_scale(node, cutter, sizes[0] // heads, size)


@rule("com.microsoft::MultiHeadAttention", weights=(3,), biases=(3,))
def multi_head_attention(node: Node, tracker: Tracker) -> None:  # 3
    shapes = [tracker.shape(node, i) for i in range(3) if node.has_input(i)]
    if len(shapes) < 3 or len(shapes[0]) != 3 or len(shapes[1]) > 4:
        _keep_all(node, tracker, PACKED)
        return
    if node.has_input(8) or node.has_input(9):
        _keep_all(node, tracker, "its buffers of past tokens are written in place")
        return
    if node.has_input(3) and len(shapes[1]) == 4:
        _keep_all(node, tracker, "its keys and values come split into heads, and its bias does not")
        return
    heads = int(node.attr("num_heads"))
    starts = np.cumsum([0, *(shape[-1] for shape in shapes)])
    operands = []
    for i, shape in enumerate(shapes):
        layers, is_zero = list(tracker.read(node, i)), node.inputs[i] in tracker.zeros
        if node.has_input(3):
            part = np.arange(starts[i], starts[i + 1])
            bias = [layer.take(part, axis=0) for layer in tracker.read(node, 3)]
            layers = align(tracker, node, [(shape, layers), ((part.size,), bias)], 3)
            is_zero = is_zero and tracker.is_zeroed(node, 3)
        if len(shape) == 4:
            operands.append(Heads(shape, layers, is_zero))
        else:
            operands.append(split_heads(tracker, (shape, layers), heads, is_zero=is_zero))
    q, k, v = operands
    k = _with_past(node, tracker, k, past=6, present=1)
    v = _with_past(node, tracker, v, past=7, present=2)
    _keep(node, tracker, [4])
    biases = _given(node, tracker, [5])
    y, scores = attend(tracker, node, q, k, v, biases, per_example=node.has_input(4))
    _write(node, tracker, y)
    tracker.write(node, scores, 3)


@resize("com.microsoft::MultiHeadAttention")
def resize_multi_head_attention(node: Node, cutter: Cutter) -> None:
    if len(cutter.old_shape(node.inputs[0])) != 3:
        return
    heads = int(node.attr("num_heads"))
    kept = cutter.input_kept(node, 0, 2)
    left, size = heads_left(kept, heads)
    _set(node, cutter, "num_heads", left)
    _pin_scale(node, cutter, kept.size // heads, size)


@rule("com.microsoft::GroupQueryAttention")
def group_query_attention(node: Node, tracker: Tracker) -> None:  # 4
    if node.has_input(12) or node.has_input(13):
        _keep_all(node, tracker, "its cache of past tokens is quantised")
        return
    operands = [
        keep_head_dim(tracker, node, heads, ONE_HEAD_SIZE) for heads in _grouped(node, tracker)
    ]
    q, k, v = operands
    k = _with_past(node, tracker, k, past=3, present=1)
    v = _with_past(node, tracker, v, past=4, present=2)
    # Lengths, rotary tables and norm weights follow tokens and head size.
    _keep(node, tracker, [5, 6, 7, 8, 9, 14, 15])
    biases = _given(node, tracker, [10])
    if node.has_input(11):  # head_sink: (h,)
        shape = (1, q.shape[1], 1, 1)
        biases.append((shape, [layer.reshape(shape) for layer in tracker.read(node, 11)]))
    y, scores = attend(tracker, node, q, k, v, biases, per_example=True)
    _write(node, tracker, y)
    tracker.write(node, scores, 3)


@resize("com.microsoft::GroupQueryAttention")
def resize_group_query_attention(node: Node, cutter: Cutter) -> None:
    kept = cutter.input_kept(node, 0, 2)
    heads, own = int(node.attr("num_heads")), int(node.attr("kv_num_heads"))
    if node.has_input(1):
        queries, keys = kept, cutter.input_kept(node, 1, 2)
    else:
        size = kept.size // (heads + 2 * own)
        queries, keys = kept[: heads * size], kept[heads * size : (heads + own) * size]
    _set(node, cutter, "num_heads", heads_left(queries, heads)[0])
    _set(node, cutter, "kv_num_heads", heads_left(keys, own)[0])


def heads_left(kept: npt.NDArray[np.bool_], heads: int) -> tuple[int, int]:
    """Heads, and the size of each, that stay of an axis of heads*d channels."""
    sizes = kept.reshape(heads, -1).sum(axis=1)
    sizes = sizes[sizes > 0]
    return int(sizes.size), int(sizes[0])


def _operand(node: Node, tracker: Tracker, i: int, heads: int | None) -> Heads:
    shape, layers = tracker.shape(node, i), tracker.read(node, i)
    is_zero = node.inputs[i] in tracker.zeros
    if len(shape) == 4:
        return Heads(shape, layers, is_zero)
    assert heads is not None, f"{node}: inputs of rank 3 need a number of heads"
    return split_heads(tracker, (shape, layers), int(heads), is_zero=is_zero)


def _grouped(node: Node, tracker: Tracker) -> list[Heads]:
    """q, k and v of GroupQueryAttention; all three may stand in the first input."""
    heads, own = int(node.attr("num_heads")), int(node.attr("kv_num_heads"))
    counts = (heads, own, own)
    if node.has_input(1):
        return [_operand(node, tracker, i, count) for i, count in enumerate(counts)]
    batch, tokens, channels = tracker.shape(node, 0)
    size = channels // sum(counts)
    result, start = [], 0
    for count in counts:
        part = np.arange(start, start + count * size)
        start += part.size
        layers = [
            layer.take(part, axis=2) if layer.shape[2] > 1 else layer
            for layer in tracker.read(node, 0)
        ]
        operand = ((batch, tokens, part.size), layers)
        is_zero = node.inputs[0] in tracker.zeros
        result.append(split_heads(tracker, operand, count, is_zero=is_zero))
    return result


def _with_past(node: Node, tracker: Tracker, new: Heads, *, past: int, present: int) -> Heads:
    """Keys or values with those of past tokens before them; writes the present ones.

    past, present: (B, heads, tokens, head size)
    """
    layers = tracker.keep_axes(new.layers, [2], node, TOKENS)
    is_zero = new.is_zero
    if node.has_input(past):
        before = tracker.keep_axes(tracker.read(node, past), [2], node, TOKENS)
        operands = [
            ((*shape[:2], 1, shape[3]), part)
            for shape, part in ((new.shape, layers), (tracker.shape(node, past), before))
        ]
        layers = align(tracker, node, operands, 4)
        is_zero = is_zero and node.inputs[past] in tracker.zeros
    tracker.write(node, layers, present)
    return Heads(new.shape, layers, is_zero)


def _given(node: Node, tracker: Tracker, positions: Sequence[int]) -> list[Operand]:
    return [(tracker.shape(node, i), tracker.read(node, i)) for i in positions if node.has_input(i)]


def _hidden_sizes(node: Node, total: int) -> list[int]:
    sizes = node.attr("qkv_hidden_sizes")
    return [int(size) for size in sizes] if sizes else [total // 3] * 3


def _write(node: Node, tracker: Tracker, y: Heads) -> None:
    flat = len(tracker.out_shape(node)) == 3
    tracker.write(node, merge_heads(y) if flat else y.layers)
    if y.is_zero:
        tracker.zeros.add(node.outputs[0])


def _keep(node: Node, tracker: Tracker, positions: Sequence[int]) -> None:
    for i in positions:
        if node.has_input(i):
            tracker.keep_layers(tracker.read(node, i), node, TOKENS)


def _keep_all(node: Node, tracker: Tracker, reason: str) -> None:
    tracker.keep_inputs(node, reason)
    for i in range(len(node.outputs)):
        tracker.write(node, [], i)


def _set(node: Node, cutter: Cutter, name: str, value: int) -> None:
    if node.attr(name) != value:
        cutter.set_attr(node, name, value)


def _pin_scale(node: Node, cutter: Cutter, old: int, new: int) -> None:
    """com.microsoft operators take a scale of 0 as none."""
    if old != new and not node.attr("scale"):
        cutter.set_attr(node, "scale", float(1 / np.sqrt(old)))
