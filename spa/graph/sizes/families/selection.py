"""Operators that take a part of a tensor."""

from __future__ import annotations

from typing import Any

from spa.graph.nodes import Node
from spa.graph.sizes.algebra import Size
from spa.graph.sizes.registry import Axes, Reasoner, axes_of

# What exporters write for "to the end".
FAR = 2**31 - 1


@axes_of("Gather", "com.microsoft::GatherBlockQuantized")
def gather(node: Node, reason: Reasoner) -> Axes:
    data, indices = reason.axes(node.inputs[0]), reason.axes(node.inputs[1])
    axis = int(node.attr("axis", node.attr("gather_axis", 0))) % len(data)
    return (*data[:axis], *indices, *data[axis + 1 :])


@axes_of("GatherElements")
def gather_elements(node: Node, reason: Reasoner) -> Axes:
    return reason.axes(node.inputs[1])


@axes_of("GatherND")
def gather_nd(node: Node, reason: Reasoner) -> Axes:
    """data: (B..., K..., T...)   indices: (B..., M..., k)   y: (B..., M..., T...)."""
    data, indices = reason.axes(node.inputs[0]), reason.axes(node.inputs[1])
    counted = reason.seen(node.inputs[1])[-1]
    return (*indices[:-1], *data[int(node.attr("batch_dims", 0)) + counted :])


@axes_of("Slice")
def slice_(node: Node, reason: Reasoner) -> Axes:
    axes = list(reason.axes(node.inputs[0]))
    bounds = bounds_of(node, reason, len(axes))
    if bounds is None:
        return tuple(reason.open(node, k) for k in range(len(axes)))
    for k, (start, end, step) in bounds.items():
        seen = reason.seen(node.outputs[0])[k]
        axes[k] = _sliced(node, reason, k, axes[k], start, end, step, seen)
    return tuple(axes)


def bounds_of(node: Node, reason: Reasoner, rank: int) -> dict[int, tuple[Size, Size, Size]] | None:
    """Start, end and step by axis; None where the axes, or all of a bound, are unknown."""
    steps: list[Size]
    if "starts" in node.attrs:  # before opset 10
        starts: list[Any] = list(node.attrs["starts"])
        ends: list[Any] = list(node.attrs["ends"])
        named, steps = list(node.attr("axes", range(len(starts)))), [1] * len(starts)
    else:
        read = [reason.numbers(name) if name else None for name in node.inputs[1:]]
        read += [None] * (4 - len(read))
        count = reason.seen(node.inputs[1])[0] if reason.seen(node.inputs[1]) else 1
        if node.has_input(3) and (read[2] is None or read[2].size != count):
            return None
        unknown: Size = reason.algebra.call("bound", node.index)
        lists = [
            list(x.reshape(-1)) if x is not None and x.size == count else [unknown] * count
            for x in (read[0], read[1])
        ]
        starts, ends = lists
        named = list(range(count)) if read[2] is None else list(read[2].reshape(-1))
        if node.has_input(4):
            whole = read[3] is not None and read[3].size == count
            steps = (
                list(read[3].reshape(-1)) if read[3] is not None and whole else [unknown] * count
            )
        else:
            steps = [1] * count
        if not all(isinstance(k, int) for k in named):
            return None
    return {
        int(k) % rank: (start, end, step)
        for k, start, end, step in zip(named, starts, ends, steps, strict=True)
    }


def _sliced(
    node: Node,
    reason: Reasoner,
    axis: int,
    size: Size,
    start: Size,
    end: Size,
    step: Size,
    seen: int,
) -> Size:
    fixed = all(isinstance(bound, int) for bound in (start, end, step))
    if fixed and isinstance(size, int):
        return seen
    if fixed and step == 1:
        if start == 0 and end >= FAR:
            return size
        if (start, end) == (0, 1) or (start == -1 and end >= FAR):
            return 1
        if 0 < start < FAR <= end:
            return reason.algebra.call("rest", size, start)
    if fixed and step == -1 and (start == -1 or start >= FAR) and end <= -FAR:
        return size
    first = isinstance(step, int) and isinstance(start, int) and (start, step) == (0, 1)
    if first and not isinstance(end, int) and reason.algebra.sign(end, 0) == 1:
        return reason.algebra.call("min", size, end)
    return reason.algebra.call("slice", size, start, end, step)


@axes_of("Split")
def split(node: Node, reason: Reasoner) -> list[Axes]:
    axes = reason.axes(node.inputs[0])
    k = int(node.attr("axis", 0)) % len(axes)
    sizes: list[Size] | None = None
    if node.attr("split") is not None:
        sizes = list(node.attr("split"))
    elif node.has_input(1):
        found = reason.numbers(node.inputs[1])
        sizes = (
            None if found is None or found.size != len(node.outputs) else list(found.reshape(-1))
        )
        if sizes is None:
            sizes = [reason.open(node, k, i) for i in range(len(node.outputs))]
    result = []
    for i, name in enumerate(node.outputs):
        if sizes is not None:
            size = sizes[i]
        elif isinstance(axes[k], int):
            size = reason.seen(name)[k] if name else 0
        else:
            size = reason.algebra.call("part", axes[k], len(node.outputs), i)
        result.append((*axes[:k], size, *axes[k + 1 :]))
    return result


@axes_of("Compress")
def compress(node: Node, reason: Reasoner) -> Axes:
    axes = list(reason.axes(node.inputs[0]))
    named = node.attr("axis")
    known = reason.fixed(node.inputs[1]) is not None
    if named is None:
        return (reason.open(node, 0),)
    k = int(named) % len(axes)
    axes[k] = reason.seen(node.outputs[0])[k] if known else reason.open(node, k)
    return tuple(axes)


@axes_of("NonZero")
def non_zero(node: Node, reason: Reasoner) -> Axes:
    return (reason.seen(node.outputs[0])[0], reason.open(node, 1))


@axes_of("NonMaxSuppression")
def non_max_suppression(node: Node, reason: Reasoner) -> Axes:
    return (reason.open(node, 0), 3)


@axes_of("OneHot")
def one_hot(node: Node, reason: Reasoner) -> Axes:
    axes = list(reason.axes(node.inputs[0]))
    depth = reason.numbers(node.inputs[1])
    k = int(node.attr("axis", -1)) % (len(axes) + 1)
    axes.insert(k, depth.reshape(-1)[0] if depth is not None else reason.open(node, k))
    return tuple(axes)
