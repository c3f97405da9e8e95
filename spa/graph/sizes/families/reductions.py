"""Reductions and operators that fold an axis: TopK, ArgMax."""

from __future__ import annotations

from spa.graph.nodes import Node
from spa.graph.sizes.registry import Axes, Reasoner, axes_of

FOLDS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip


@axes_of(*FOLDS)
def fold(node: Node, reason: Reasoner) -> Axes:
    axes = reason.axes(node.inputs[0])
    named = node.attr("axes")
    if named is None and node.has_input(1):
        value = reason.fixed(node.inputs[1])
        if value is None:
            return tuple(reason.open(node, k) for k in range(len(reason.seen(node.outputs[0]))))
        named = value.reshape(-1).tolist()
    if not named:
        if node.attr("noop_with_empty_axes", 0):
            return axes
        named = range(len(axes))
    return _without(axes, [int(k) for k in named], bool(node.attr("keepdims", 1)))


@axes_of("ArgMax", "ArgMin")
def arg_max(node: Node, reason: Reasoner) -> Axes:
    axes = reason.axes(node.inputs[0])
    return _without(axes, [int(node.attr("axis", 0))], bool(node.attr("keepdims", 1)))


def _without(axes: Axes, folded: list[int], stay: bool) -> Axes:
    gone = {k % len(axes) for k in folded} if axes else set()
    if stay:
        return tuple([1 if k in gone else size for k, size in enumerate(axes)])
    return tuple([size for k, size in enumerate(axes) if k not in gone])


@axes_of("TopK")
def top_k(node: Node, reason: Reasoner) -> list[Axes]:
    axes = list(reason.axes(node.inputs[0]))
    k = int(node.attr("axis", -1)) % len(axes)
    count = [node.attr("k")] if node.attr("k") is not None else reason.numbers(node.inputs[1])
    known = count is not None and len(count) == 1
    axes[k] = count[0] if count is not None and known else reason.open(node, k)
    return [tuple(axes)] * len(node.outputs)


@axes_of("Det")
def det(node: Node, reason: Reasoner) -> Axes:
    return reason.axes(node.inputs[0])[:-2]


@axes_of("com.microsoft::QLinearReduceMean")
def quantised_mean(node: Node, reason: Reasoner) -> Axes:
    named = [int(k) for k in node.attr("axes", range(len(reason.axes(node.inputs[0]))))]
    return _without(reason.axes(node.inputs[0]), named, bool(node.attr("keepdims", 1)))
