"""Operators that contract: MatMul and its kin, Gemm, Einsum, attention."""

from __future__ import annotations

from spa.graph.equation import read_equation
from spa.graph.nodes import Node
from spa.graph.sizes.algebra import Size
from spa.graph.sizes.families.elementwise import broadcast
from spa.graph.sizes.registry import Axes, Reasoner, axes_of


@axes_of("MatMul", "MatMulInteger", "com.microsoft::FusedMatMul",
         "com.microsoft::DynamicQuantizeMatMul", "com.microsoft::MatMulIntegerToFloat")  # fmt: skip
def matmul(node: Node, reason: Reasoner) -> Axes:
    a, b = reason.axes(node.inputs[0]), reason.axes(node.inputs[1])
    if node.attr("transBatchA", 0) or node.attr("transBatchB", 0):
        return tuple(reason.open(node, k) for k in range(len(reason.seen(node.outputs[0]))))
    return _multiplied(reason, a, b, node.attr("transA", 0), node.attr("transB", 0))


@axes_of("QLinearMatMul")
def quantised_matmul(node: Node, reason: Reasoner) -> Axes:
    return _multiplied(reason, reason.axes(node.inputs[0]), reason.axes(node.inputs[3]))


def _multiplied(reason: Reasoner, a: Axes, b: Axes, left: int = 0, right: int = 0) -> Axes:
    """(..., M, K) by (..., K, N); a vector stands for a row, or a column."""
    rows = a if len(a) > 1 else (1, *a)
    columns = b if len(b) > 1 else (*b, 1)
    m, k = (rows[-1], rows[-2]) if left else (rows[-2], rows[-1])
    inner, n = (columns[-1], columns[-2]) if right else (columns[-2], columns[-1])
    reason.algebra.learn(k, inner)
    reason.algebra.learn(inner, k)
    batch = broadcast(reason, [rows[:-2], columns[:-2]])
    ends: list[Size] = [*([m] if len(a) > 1 else []), *([n] if len(b) > 1 else [])]
    return (*batch, *ends)


@axes_of("Gemm", "com.microsoft::QGemm", "com.microsoft::FusedGemm")
def gemm(node: Node, reason: Reasoner) -> Axes:
    a = reason.axes(node.inputs[0])
    b = reason.axes(node.inputs[3 if node.op.endswith("QGemm") else 1])
    if len(a) != 2 or len(b) != 2:
        return tuple(reason.open(node, k) for k in range(2))
    return _multiplied(reason, a, b, node.attr("transA", 0), node.attr("transB", 0))


@axes_of("com.microsoft::MatMulNBits", "com.microsoft::MatMulBnb4", "com.microsoft::MatMulFpQ4")
def packed_matmul(node: Node, reason: Reasoner) -> Axes:
    """The weight's real sizes are attributes."""
    return (*reason.axes(node.inputs[0])[:-1], reason.seen(node.outputs[0])[-1])


@axes_of("Einsum")
def einsum(node: Node, reason: Reasoner) -> Axes:
    shapes = [reason.axes(name) for name in node.inputs]
    terms, output = read_equation(node.attr("equation"), [len(axes) for axes in shapes])
    sizes: dict[str, Size] = {}
    for term, axes in zip(terms, shapes, strict=True):
        for letter, size in zip(term, axes, strict=True):
            if letter in sizes:
                sizes[letter] = reason.algebra.broadcast(sizes[letter], size)
            else:
                sizes[letter] = size
    return tuple(sizes[letter] for letter in output)


@axes_of("com.microsoft::Attention", "com.microsoft::QAttention")
def packed_attention(node: Node, reason: Reasoner) -> list[Axes]:
    """x: (N, T, in)   y: (N, T, v), as wide as the weight says."""
    axes = reason.axes(node.inputs[0])
    width = reason.seen(node.outputs[0])[-1]
    return [(axes[0], axes[1], width)]


@axes_of("com.microsoft::MultiHeadAttention", "com.microsoft::GroupQueryAttention")
def attention_of_three(node: Node, reason: Reasoner) -> list[Axes]:
    """query: (N, T, hidden), or packed with key and value   y: (N, T, v)."""
    query = reason.axes(node.inputs[0])
    value = reason.axes(node.inputs[2]) if node.has_input(2) else ()
    width: Size = reason.seen(node.outputs[0])[-1]
    if node.op.endswith("MultiHeadAttention") and len(value) == 3:
        width = value[-1]
    return [(query[0], query[1], width)]


@axes_of("Attention")
def attention(node: Node, reason: Reasoner) -> list[Axes]:
    """q, k, v: (N, T, hidden) or (N, heads, T, head)   y: like q, as wide as v."""
    query, value = reason.axes(node.inputs[0]), reason.axes(node.inputs[2])
    if len(query) == 4:
        return [(*query[:3], value[3])]
    heads = int(node.attr("q_num_heads", 1))
    shared = int(node.attr("kv_num_heads", heads))
    width = reason.algebra.times(reason.algebra.quotient([value[2]], [shared]), heads)
    return [(query[0], query[1], width)]
