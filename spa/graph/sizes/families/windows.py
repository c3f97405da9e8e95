"""Operators with a window: batch and channels pass, or come from the weight; the rest is computed.

x: (N, C, in...)   y: (N, M, out...)
"""

from __future__ import annotations

from typing import Any

from spa.graph.nodes import Node
from spa.graph.sizes.algebra import Size
from spa.graph.sizes.registry import Axes, Reasoner, axes_of


@axes_of("Conv", "ConvInteger", "com.microsoft::FusedConv", "com.microsoft::NhwcFusedConv")
def conv(node: Node, reason: Reasoner) -> Axes:
    return _conv(node, reason, weight=1)


@axes_of("DeformConv")
def deform_conv(node: Node, reason: Reasoner) -> Axes:
    return _conv(node, reason, weight=1)


@axes_of("QLinearConv", "com.microsoft::QLinearConv")
def quantised_conv(node: Node, reason: Reasoner) -> Axes:
    return _conv(node, reason, weight=3)


def _conv(node: Node, reason: Reasoner, weight: int) -> Axes:
    axes, kernel = reason.axes(node.inputs[0]), reason.axes(node.inputs[weight])
    reason.algebra.learn(axes[1], reason.algebra.times(kernel[1], int(node.attr("group", 1))))
    window = node.attr("kernel_shape") or kernel[2:]
    return (axes[0], kernel[0], *_windowed(node, reason, axes[2:], list(window)))


@axes_of("AveragePool", "LpPool", "MaxPool", "com.microsoft::QLinearAveragePool")
def pool(node: Node, reason: Reasoner) -> list[Axes]:
    axes = reason.axes(node.inputs[0])
    sizes = (*axes[:2], *_windowed(node, reason, axes[2:], list(node.attr("kernel_shape"))))
    return [sizes] * len(node.outputs)


@axes_of("ConvTranspose")
def conv_transpose(node: Node, reason: Reasoner) -> Axes:
    axes, kernel = reason.axes(node.inputs[0]), reason.axes(node.inputs[1])
    reason.algebra.learn(axes[1], kernel[0])
    channels = reason.algebra.times(kernel[1], int(node.attr("group", 1)))
    return (axes[0], channels, *(_transposed(node, reason, k, axes) for k in range(2, len(axes))))


def _transposed(node: Node, reason: Reasoner, k: int, axes: Axes) -> Size:
    """Stride (in - 1) + output padding + dilated kernel - pads."""
    named = node.attr("output_shape")
    if named:
        return int(list(named)[k - len(axes)])
    size, rank = axes[k], len(axes) - 2
    if isinstance(size, int):
        return reason.seen(node.outputs[0])[k]
    kernel = list(node.attr("kernel_shape") or reason.axes(node.inputs[1])[2:])
    stride, dilation, more = (
        int(list(node.attr(name) or [default] * rank)[k - 2])
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    if node.attr("auto_pad", "NOTSET") != "NOTSET" or not isinstance(kernel[k - 2], int):
        return reason.algebra.call("transposed", size, k, _settings(node))
    pads = list(node.attr("pads") or [0] * (2 * rank))
    fixed = more + dilation * (int(kernel[k - 2]) - 1) + 1 - pads[k - 2] - pads[k - 2 + rank]
    return reason.algebra.plus(reason.algebra.times(size, stride), fixed - stride)


def _windowed(node: Node, reason: Reasoner, axes: Axes, window: list[Size]) -> list[Size]:
    """Sizes of the spatial axes that a window moves over."""
    rank = len(axes)
    strides = list(node.attr("strides") or [1] * rank)
    dilations = list(node.attr("dilations") or [1] * rank)
    pads = list(node.attr("pads") or [0] * (2 * rank))
    seen = reason.seen(node.outputs[0])[2:]
    same = node.attr("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    result: list[Size] = []
    for k, size in enumerate(axes):
        if isinstance(size, int) and isinstance(window[k], int):
            result.append(seen[k])
        elif same and strides[k] == 1:
            result.append(size)
        elif not same and strides[k] == 1 and isinstance(window[k], int):
            valid = node.attr("auto_pad", "NOTSET") == "VALID"
            more = 0 if valid else pads[k] + pads[k + rank]
            result.append(reason.algebra.plus(size, more - dilations[k] * (int(window[k]) - 1)))
        else:
            # The same window over the same size gives the same size.
            what = (strides[k], dilations[k], pads[k], pads[k + rank])
            ends = (node.attr("auto_pad", "NOTSET"), int(node.attr("ceil_mode", 0)))
            result.append(reason.algebra.call("windows", size, window[k], what, ends))
    return result


def _settings(node: Node) -> tuple[Any, ...]:
    return tuple((key, str(value)) for key, value in sorted(node.attrs.items()))


@axes_of("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool")
def global_pool(node: Node, reason: Reasoner) -> Axes:
    axes = reason.axes(node.inputs[0])
    return (*axes[:2], *(1,) * (len(axes) - 2))


@axes_of("MaxUnpool")
def unpool(node: Node, reason: Reasoner) -> Axes:
    """Undoes a pool: where no shape is given, in terms of its input's size."""
    axes = reason.axes(node.inputs[0])
    if node.has_input(2):
        numbers = reason.numbers(node.inputs[2])
        if numbers is not None and numbers.size == len(axes):
            return (*axes[:2], *numbers.reshape(-1)[2:])
        return (*axes[:2], *(reason.open(node, k) for k in range(2, len(axes))))
    rank = len(axes) - 2
    strides, pads = (
        list(node.attr("strides") or [1] * rank),
        list(node.attr("pads") or [0] * 2 * rank),
    )
    fixed = [
        window - stride - pads[k] - pads[k + rank]
        for k, (window, stride) in enumerate(zip(node.attr("kernel_shape"), strides, strict=True))
    ]
    return (*axes[:2], *(
        reason.algebra.plus(reason.algebra.times(size, stride), more)
        for size, stride, more in zip(axes[2:], strides, fixed, strict=True)
    ))  # fmt: skip


@axes_of("Resize", "Upsample")
def resize(node: Node, reason: Reasoner) -> Axes:
    """Sizes are named, or floor(in * scale)."""
    axes = reason.axes(node.inputs[0])
    rank = len(axes)
    named = [int(k) % rank for k in node.attr("axes", range(rank))]
    result = list(axes)
    if node.has_input(3):
        sizes = reason.numbers(node.inputs[3])
        stretched = node.attr("keep_aspect_ratio_policy", "stretch") == "stretch"
        for i, k in enumerate(named):
            known = sizes is not None and sizes.size == len(named) and stretched
            result[k] = (
                sizes.reshape(-1)[i] if sizes is not None and known else reason.open(node, k)
            )
        return tuple(result)
    place = 2 if len(node.inputs) > 2 else 1
    scales = node.attr("scales")
    if scales is None and node.has_input(place):
        found = reason.numbers(node.inputs[place])
        scales = None if found is None or found.size != len(named) else found.reshape(-1)
    for i, k in enumerate(named):
        if scales is None:
            result[k] = reason.open(node, k)
        else:
            result[k] = _scaled(reason, axes[k], scales[i], reason.seen(node.outputs[0])[k])
    return tuple(result)


def _scaled(reason: Reasoner, size: Size, scale: Size, seen: int) -> Size:
    if isinstance(size, int) and isinstance(scale, (int, float)):
        return seen
    if isinstance(scale, (int, float)) and float(scale).is_integer():
        return reason.algebra.times(size, int(scale))
    return reason.algebra.call("scaled", size, scale)


@axes_of("GridSample")
def grid_sample(node: Node, reason: Reasoner) -> Axes:
    """grid: (N, out..., r)."""
    return (*reason.axes(node.inputs[0])[:2], *reason.axes(node.inputs[1])[1:-1])


@axes_of("AffineGrid")
def affine_grid(node: Node, reason: Reasoner) -> Axes:
    """size: (N, C, out...)   y: (N, out..., r)."""
    numbers = reason.numbers(node.inputs[1])
    rank = len(reason.seen(node.outputs[0]))
    if numbers is None or numbers.size != rank:
        return (*(reason.open(node, k) for k in range(rank - 1)), rank - 2)
    return (reason.axes(node.inputs[0])[0], *numbers.reshape(-1)[2:], rank - 2)


@axes_of("RoiAlign", "MaxRoiPool")
def of_regions(node: Node, reason: Reasoner) -> Axes:
    """One map per region."""
    seen = reason.seen(node.outputs[0])
    return (reason.axes(node.inputs[1])[0], reason.axes(node.inputs[0])[1], *seen[2:])


@axes_of("Col2Im")
def col2im(node: Node, reason: Reasoner) -> Axes:
    """x: (N, C * block, L)   y: (N, C, out...)."""
    axes = reason.axes(node.inputs[0])
    sizes, block = reason.numbers(node.inputs[1]), reason.numbers(node.inputs[2])
    rank = len(reason.seen(node.outputs[0]))
    channels: Size = reason.open(node, 1) if block is None else None
    if block is not None:
        channels = reason.algebra.quotient([axes[1]], list(block.reshape(-1)))
    if sizes is None or sizes.size != rank - 2:
        return (axes[0], channels, *(reason.open(node, k) for k in range(2, rank)))
    return (axes[0], channels, *sizes.reshape(-1))
