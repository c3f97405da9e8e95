"""Gemm and MatMul: the contracted axes of both operands go together, the others pass to the output.

Gemm     A: (M, K) or (K, M) with transA   B: (K, N) or (N, K) with transB   C: broadcasts to (M, N)
MatMul   A: (batch..., M, K)   B: (batch..., K, N)   y: (batch..., M, N); vectors as in NumPy

See `spa.coupling.contract` for what a contraction means.
"""

from __future__ import annotations

from collections.abc import Sequence

from spa.coupling.align import Operand, align
from spa.coupling.contract import ACTIVATIONS, contract
from spa.coupling.labels import Layer, along
from spa.coupling.rules.base import rule
from spa.coupling.tracker import Shape, Tracker
from spa.graph.nodes import Node


@rule("Gemm", weights=(0, 1, 2), biases=(2,))
def gemm(node: Node, tracker: Tracker) -> None:
    a, b, y = tracker.shape(node, 0), tracker.shape(node, 1), tracker.out_shape(node)
    k_of_a = 0 if node.attr("transA", 0) else 1
    k_of_b = 1 if node.attr("transB", 0) else 0
    left, right = tracker.read(node, 0), tracker.read(node, 1)
    contracted = tracker.vector(left, k_of_a, a[k_of_a], node)
    tracker.equal(contracted, tracker.vector(right, k_of_b, b[k_of_b], node), node)
    if not tracker.is_zeroed(node, 1) and not tracker.is_zeroed(node, 0):
        tracker.mark_inexact(contracted, node, ACTIVATIONS)
    rows = tracker.vector(left, 1 - k_of_a, y[0], node)
    columns = tracker.vector(right, 1 - k_of_b, y[1], node)
    layers = [along(rows, 0, 2), along(columns, 1, 2)]
    if node.has_input(2):
        operands = [(y, [layer for layer in layers if layer.any()])]
        operands.append((tracker.shape(node, 2), tracker.read(node, 2)))
        layers = align(tracker, node, operands, 2)
    tracker.write(node, layers)
    # Columns are zero with the weight and a bias of their own; rows are those of A.
    zeroed = [tracker.is_zeroed(node, i) for i in (1, 2) if node.has_input(i)]
    bias_follows = not node.has_input(2) or tracker.shape(node, 2)[-1:] == (y[1],)
    if all(zeroed) and bias_follows and not rows.any():
        tracker.zeros.add(node.outputs[0])


@rule("MatMul", weights=(0, 1))
def matmul(node: Node, tracker: Tracker) -> None:
    a, b = ((tracker.shape(node, i), tracker.read(node, i)) for i in (0, 1))
    tracker.write(node, multiply(tracker, node, a, b))


def multiply(tracker: Tracker, node: Node, left: Operand, right: Operand) -> list[Layer]:
    """Layers of the matrix product of two operands, as NumPy's ``matmul`` takes them."""
    # A vector stands for a matrix of one row (A) or one column (B), taken out again at the end.
    a, of_a = _as_matrix(*left, row=True)
    b, of_b = _as_matrix(*right, row=False)
    rank = max(len(a), len(b))
    # Over all axes: (batch..., M, K, N).
    operands = [
        ((*a, 1), [layer[..., None] for layer in of_a]),
        ((*b[:-2], 1, *b[-2:]), [layer[..., None, :, :] for layer in of_b]),
    ]
    layers = contract(tracker, node, operands, rank + 1, summed=[rank - 1], batch=range(rank - 2))
    layers = [layer.squeeze(-2) for layer in layers]
    if len(left[0]) == 1:
        layers = [layer.squeeze(-2) for layer in layers]
    if len(right[0]) == 1:
        layers = [layer.squeeze(-1) for layer in layers]
    return layers


def _as_matrix(shape: Shape, layers: Sequence[Layer], *, row: bool) -> Operand:
    if len(shape) > 1:
        return shape, layers
    new = (1, shape[0]) if row else (shape[0], 1)
    return new, [layer.reshape(new) for layer in layers]
