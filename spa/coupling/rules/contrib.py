"""Operators of com.microsoft that ONNX Runtime's fusions leave in files.

1. Gelu, QuickGelu; BiasGelu and FastGelu, which add a bias first.
2. SkipLayerNormalization, SkipSimplifiedLayerNormalization: a residual sum, then a norm over the
   last axis; the sum may be an output too.
3. FusedMatMul: MatMul of operands that it transposes first.
"""

from __future__ import annotations

from spa.coupling.align import align
from spa.coupling.labels import Layer
from spa.coupling.rules.base import rule
from spa.coupling.rules.linear import multiply
from spa.coupling.tracker import Shape, Tracker
from spa.graph.nodes import Node


@rule("com.microsoft::Gelu", "com.microsoft::QuickGelu", zero="each")
def gelu(node: Node, tracker: Tracker) -> None:  # 1
    tracker.write(node, tracker.read(node, 0))


@rule("com.microsoft::BiasGelu", "com.microsoft::FastGelu")
def biased_gelu(node: Node, tracker: Tracker) -> None:  # 1
    operands = [
        (tracker.shape(node, i), tracker.read(node, i)) for i in (0, 1) if node.has_input(i)
    ]
    tracker.write(node, align(tracker, node, operands, len(tracker.out_shape(node))))


@rule("com.microsoft::SkipLayerNormalization", affine=(2, 3))
@rule("com.microsoft::SkipSimplifiedLayerNormalization", affine=(2,))
def skip_norm(node: Node, tracker: Tracker) -> None:
    """x, skip: (B, T, C)   vectors: (C,)   outputs: normed, mean, deviation, sum."""  # 2
    rank = len(tracker.shape(node, 0))
    operands = [
        (tracker.shape(node, i), tracker.read(node, i))
        for i in range(len(node.inputs))
        if node.has_input(i)
    ]
    layers = align(tracker, node, operands, rank)
    for layer in layers:
        tracker.mark_mixed(layer, [rank - 1], node, "a norm is taken over this axis")
    tracker.write(node, layers)
    tracker.write(node, layers, 3)
    for i in (1, 2):
        if len(node.outputs) > i and node.outputs[i] in tracker.model.shapes:
            tracker.write(node, tracker.keep_axes(layers, [rank - 1], node, ""), i)


@rule("com.microsoft::FusedMatMul", weights=(0, 1))
def fused_matmul(node: Node, tracker: Tracker) -> None:  # 3
    if node.attr("transBatchA", 0) or node.attr("transBatchB", 0):
        tracker.keep_inputs(node, "it moves the batch axis of an operand")
        tracker.write(node, [])
        return
    operands = [
        _transposed(tracker.shape(node, i), tracker.read(node, i), node.attr(name, 0))
        for i, name in enumerate(("transA", "transB"))
    ]
    tracker.write(node, multiply(tracker, node, *operands))


def _transposed(shape: Shape, layers: list[Layer], flag: int) -> tuple[Shape, list[Layer]]:
    """An operand with its last two axes changed over; a vector stays as it is."""
    if not flag or len(shape) < 2:
        return shape, layers
    return (*shape[:-2], shape[-1], shape[-2]), [layer.swapaxes(-1, -2) for layer in layers]
