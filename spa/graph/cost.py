"""What a model costs: parameters and multiply-accumulates.

One convention everywhere: 1 MAC = 2 FLOPs, counted for the operators that contract (Conv,
ConvTranspose, Gemm, MatMul, Einsum, LSTM, GRU, RNN, fused attention); everything else counts
nothing. RF is dense MACs over pruned MACs, which equals the ratio of FLOPs. Parameters are the
elements of floating-point constants with more than one element, batch norm's running statistics
left out, as PyTorch counts them; a vector that an exporter shares among operators because its
values are equal counts once per operator. Both branches of an If that was opened count, though a
run takes one; of other subgraphs see `spa.graph.inner`.

A node's MACs are a constant times the sizes of a few tensor axes. That form is kept, so that the
budget can evaluate a plan from the number of kept channels without touching the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spa.graph.attention_cost import attention_products
from spa.graph.equation import read_equation
from spa.graph.inner import inner_macs
from spa.graph.nodes import Node

if TYPE_CHECKING:
    from spa.graph.model import Model

# Tensor name and axis; its size may shrink.
AxisRef = tuple[str, int]
# A fixed factor, and the axes whose sizes it is multiplied by.
Product = tuple[float, list[AxisRef]]


@dataclass(frozen=True)
class Cost:
    """Parameters (elements) and MACs per example of a batch of one."""

    params: int
    macs: int


@dataclass(frozen=True)
class NodeCost:
    """MACs of one product of a node: ``factor`` times the sizes of ``axes``."""

    node: int
    factor: float
    axes: tuple[AxisRef, ...]


# Operators whose MACs are a product of axes of their first two operands and their output.
PRODUCTS = ("Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "com.microsoft::FusedMatMul")


def node_costs(model: Model) -> list[NodeCost]:
    """MACs of every contracting node, per example, as a product of axis sizes.

    Those inside of subgraphs are fixed.
    """
    batch = model.batch_size
    costs = []
    for node in model.graph.nodes:
        for fixed, refs in _products(node, model.shapes):
            costs.append(NodeCost(node.index, fixed / batch, tuple(refs)))
    for index, macs in inner_macs(model, _macs_of).items():
        costs.append(NodeCost(index, macs / batch, ()))
    return costs


def measure_cost(model: Model) -> Cost:
    """Parameters and MACs of a loaded model."""
    macs = sum(
        cost.factor * np.prod([model.shapes[name][axis] for name, axis in cost.axes])
        for cost in node_costs(model)
    )
    params = sum(
        int(np.prod(model.shapes[name], dtype=np.int64)) * model.counted_reads(name)
        for name in model.counted_parameters
    )
    return Cost(params=params + model.inner_params, macs=round(float(macs)))


def _macs_of(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """MACs of one node, for the whole batch."""
    return sum(
        fixed * _prod(tuple(shapes[name][axis] for name, axis in axes))
        for fixed, axes in _products(node, shapes)
    )


def _products(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> list[Product]:
    """What a node multiplies: a recurrent one its inputs and its states, all others one product."""
    if node.op in ("LSTM", "GRU", "RNN"):  # x: (T, N, I)   W: (D, G*H, I)   R: (D, G*H, H)
        x, *weights = node.inputs[:3]
        if not all(name in shapes for name in (x, *weights)):
            return []
        steps = _prod(shapes[x][:2])
        return [(steps, [(w, axis) for axis in range(3)]) for w in weights]
    axes = _axes(node, shapes)
    return attention_products(node, shapes) if axes is None else [axes]


def _axes(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Product | None:
    """Fixed factor and shrinkable axes of one node's MACs; None where it has none."""
    if node.op == "Einsum":
        return _einsum_axes(node, shapes)
    if node.op not in PRODUCTS:
        return None
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    if x not in shapes or w not in shapes or y not in shapes:
        return None
    if node.op in ("Conv", "DeformConv"):  # W: (O, I/g, k...)   y: (N, O, out...)
        places = [(y, axis) for axis in range(len(shapes[y])) if axis != 1]
        return 1.0, [(w, axis) for axis in range(len(shapes[w]))] + places
    if node.op == "ConvTranspose":  # W: (I, O/g, k...)   x: (N, I, in...)
        places = [(x, axis) for axis in range(len(shapes[x])) if axis != 1]
        return 1.0, [(w, axis) for axis in range(len(shapes[w]))] + places
    if node.op == "Gemm":  # y: (M, N), contracted over K
        k = (x, 0 if node.attr("transA", 0) else 1)
        return 1.0, [(y, 0), (y, 1), k]
    if len(shapes[x]) == 0 or len(shapes[w]) == 0:
        return None
    summed = len(shapes[x]) - (2 if node.attr("transA", 0) and len(shapes[x]) > 1 else 1)
    return 1.0, [(y, axis) for axis in range(len(shapes[y]))] + [(x, summed)]


def _einsum_axes(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Product | None:
    """One axis for every letter, of the operand where it is largest; products of two count."""
    if len(node.inputs) < 2 or not all(name in shapes for name in node.inputs):
        return None
    terms, _ = read_equation(node.attr("equation"), [len(shapes[name]) for name in node.inputs])
    largest: dict[str, AxisRef] = {}
    for name, term in zip(node.inputs, terms, strict=True):
        for axis, letter in enumerate(term):
            known = largest.get(letter)
            if known is None or shapes[name][axis] > shapes[known[0]][known[1]]:
                largest[letter] = (name, axis)
    return float(len(terms) - 1), list(largest.values())


def _prod(sizes: tuple[int, ...]) -> float:
    return float(np.prod(sizes, dtype=np.float64)) if sizes else 1.0
