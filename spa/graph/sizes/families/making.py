"""Operators that make tensors of a shape that is a number to them."""

from __future__ import annotations

from spa.graph.nodes import Node
from spa.graph.sizes.algebra import Size
from spa.graph.sizes.registry import Axes, Reasoner, axes_of


@axes_of("ConstantOfShape")
def constant_of_shape(node: Node, reason: Reasoner) -> Axes:
    rank = len(reason.seen(node.outputs[0]))
    sizes = reason.numbers(node.inputs[0])
    if sizes is None or sizes.size != rank:
        return tuple(reason.open(node, k) for k in range(rank))
    return tuple(sizes.reshape(-1))


@axes_of("Range")
def range_(node: Node, reason: Reasoner) -> Axes:
    start, limit, step = (reason.numbers(name) for name in node.inputs)
    if start is None or limit is None or step is None:
        return (reason.open(node, 0),)
    first, last, stride = (x.reshape(-1)[0] for x in (start, limit, step))
    span: Size = reason.algebra.minus(last, first)
    if isinstance(stride, int) and stride == 1:
        kind = reason.dtype(node.outputs[0])
        if kind is not None and kind.kind in "iu":
            return (span,)
    return (reason.algebra.call("range", span, stride),)


@axes_of("Multinomial")
def multinomial(node: Node, reason: Reasoner) -> Axes:
    return (reason.axes(node.inputs[0])[0], int(node.attr("sample_size", 1)))


@axes_of("BlackmanWindow", "HammingWindow", "HannWindow")
def window(node: Node, reason: Reasoner) -> Axes:
    size = reason.numbers(node.inputs[0])
    return (reason.open(node, 0) if size is None else size.reshape(-1)[0],)


@axes_of("DFT")
def dft(node: Node, reason: Reasoner) -> Axes:
    """x: (..., T, ..., 1 or 2)   y: (..., F, ..., 1 or 2)."""
    axes = list(reason.axes(node.inputs[0]))
    axis = node.attr("axis")
    if axis is None and node.has_input(2):
        value = reason.fixed(node.inputs[2])
        if value is None:
            return tuple(reason.open(node, k) for k in range(len(axes)))
        axis = int(value.reshape(-1)[0])
    k = int(-2 if axis is None else axis) % len(axes)
    axes[-1] = reason.seen(node.outputs[0])[-1]
    if node.has_input(1):
        length = reason.numbers(node.inputs[1])
        axes[k] = reason.open(node, k) if length is None else length.reshape(-1)[0]
    if node.attr("onesided", 0):
        axes[k] = reason.algebra.call("one side", axes[k], int(node.attr("inverse", 0)))
    return tuple(axes)


@axes_of("STFT")
def stft(node: Node, reason: Reasoner) -> Axes:
    """x: (N, T, 1 or 2)   y: (N, frames, F, 2)."""
    seen = reason.seen(node.outputs[0])
    length = reason.axes(node.inputs[0])[1]
    step = reason.numbers(node.inputs[1])
    frame: Size = None
    if node.has_input(3):
        found = reason.numbers(node.inputs[3])
        frame = None if found is None else found.reshape(-1)[0]
    elif node.has_input(2):
        frame = reason.axes(node.inputs[2])[0]
    if step is None or frame is None:
        return (reason.axes(node.inputs[0])[0], *(reason.open(node, k) for k in (1, 2)), 2)
    stride = step.reshape(-1)[0]
    frames: Size = reason.algebra.call("frames", length, frame, stride)
    if all(isinstance(x, int) for x in (length, frame, stride)):
        frames = seen[1]
    bins = seen[2] if isinstance(frame, int) else reason.algebra.call("bins", frame)
    return (reason.axes(node.inputs[0])[0], frames, bins, seen[3])
