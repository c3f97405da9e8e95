"""A hypothesis strategy of random convolutional graphs.

A graph is a stem, a few blocks drawn from `BLOCKS`, a last convolution and a head. The last
convolution's channels feed nothing but the head, so at least one prunable group always exists.
Every block takes and gives a map (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st

from tests.graphs import STORAGES, Builder

OPSETS = (9, 11, 13, 17, 20, 22)
ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Softplus", "HardSigmoid", "Softsign")


@dataclass(frozen=True)
class Map:
    """A tensor (N, channels, height, width)."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Drawn:
    """A random model and what was drawn for it."""

    proto: onnx.ModelProto
    opset: int
    batch: int | str
    storage: str
    blocks: tuple[str, ...]
    plain: bool

    def __repr__(self) -> str:
        return f"Drawn(opset={self.opset}, batch={self.batch}, {self.storage}, {self.blocks})"


Draw = Callable[[st.SearchStrategy[Any]], Any]
Block = Callable[[Builder, Draw, Map], Map]
BLOCKS: dict[str, Block] = {}


def block(function: Block) -> Block:
    BLOCKS[function.__name__.strip("_")] = function
    return function


def _width(draw: Draw) -> int:
    return draw(st.sampled_from((4, 6, 8, 12)))


def _act(g: Builder, draw: Draw, name: str) -> str:
    return g.node(draw(st.sampled_from(ACTIVATIONS)), [name])


def _conv(g: Builder, draw: Draw, x: Map, cout: int, k: int | None = None) -> str:
    k = draw(st.sampled_from((1, 3))) if k is None else k
    return g.conv(x.name, x.channels, cout, k, bias=draw(st.booleans()))


def _quad(g: Builder, draw: Draw, x: Map) -> Map:
    """The same map, its channels brought to a multiple of 4."""
    if x.channels % 4 == 0:
        return x
    return replace(x, name=_conv(g, draw, x, 8, 1), channels=8)


# --- convolutions -------------------------------------------------------------------------------


@block
def conv(g: Builder, draw: Draw, x: Map) -> Map:
    cout = _width(draw)
    return replace(x, name=_act(g, draw, _conv(g, draw, x, cout)), channels=cout)


@block
def conv_bn(g: Builder, draw: Draw, x: Map) -> Map:
    cout = _width(draw)
    y = g.batch_norm(_conv(g, draw, x, cout), cout)
    return replace(x, name=_act(g, draw, y), channels=cout)


@block
def norm_first(g: Builder, draw: Draw, x: Map) -> Map:
    y = replace(x, name=_act(g, draw, g.batch_norm(x.name, x.channels)))
    cout = _width(draw)
    return replace(x, name=_conv(g, draw, y, cout), channels=cout)


@block
def grouped(g: Builder, draw: Draw, x: Map) -> Map:
    x = _quad(g, draw, x)
    cout = draw(st.sampled_from((4, 8, 16)))
    group = draw(st.sampled_from((2, 4)))
    y = g.conv(x.name, x.channels, cout, 3, group=group, bias=draw(st.booleans()))
    return replace(x, name=_act(g, draw, y), channels=cout)


@block
def depthwise(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.conv(x.name, x.channels, x.channels, 3, group=x.channels, bias=draw(st.booleans()))
    return replace(x, name=g.node("Relu", [y]))


@block
def depth_multiplier(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.conv(x.name, x.channels, 2 * x.channels, 3, group=x.channels)
    return replace(x, name=y, channels=2 * x.channels)


@block
def transposed(g: Builder, draw: Draw, x: Map) -> Map:
    x = _quad(g, draw, x)
    cout = draw(st.sampled_from((4, 8)))
    group = draw(st.sampled_from((1, 1, 2, 4)))
    bias = draw(st.booleans())
    if x.height <= 8:
        y = g.conv_transpose(x.name, x.channels, cout, 2, group=group, bias=bias, stride=2)
        return Map(_act(g, draw, y), cout, 2 * x.height, 2 * x.width)
    y = g.conv_transpose(x.name, x.channels, cout, 1, group=group, bias=bias)
    return replace(x, name=y, channels=cout)


@block
def tied(g: Builder, draw: Draw, x: Map) -> Map:
    """One weight used by two convolutions on purpose."""
    w = g.normal(x.channels, x.channels, 3, 3, stem="tied")
    y = g.conv(x.name, x.channels, x.channels, 3, weight=w, bias=draw(st.booleans()))
    y = g.conv(_act(g, draw, y), x.channels, x.channels, 3, weight=w)
    return replace(x, name=y)


@block
def shared_vector(g: Builder, draw: Draw, x: Map) -> Map:
    """One bias shared by two convolutions by coincidence, and by a batch norm."""
    c = _width(draw)
    b = g.weight(np.full(c, 0.25, np.float32), "same")
    first = g.node("Conv", [x.name, g.normal(c, x.channels, 1, 1), b])
    y = g.node("Relu", [first])
    y = g.node("Conv", [y, g.normal(c, c, 1, 1), b])
    var = g.weight(np.abs(g._vector(c, 1.0)) + 0.5, "var")
    y = g.node("BatchNormalization", [y, b, b, b, var])
    return replace(x, name=y, channels=c)


@block
def conv_1d(g: Builder, draw: Draw, x: Map) -> Map:
    cout = _width(draw)
    y = g.reshape(x.name, [0, x.channels, x.height * x.width])
    y = g.conv(y, x.channels, cout, 3, rank=1, bias=draw(st.booleans()))
    return replace(x, name=g.reshape(y, [0, -1, x.height, x.width]), channels=cout)


# --- joining and splitting ----------------------------------------------------------------------


@block
def residual(g: Builder, draw: Draw, x: Map) -> Map:
    inner = _width(draw)
    y = replace(x, name=_act(g, draw, _conv(g, draw, x, inner)), channels=inner)
    y = _conv(g, draw, y, x.channels)
    op = draw(st.sampled_from(("Add", "Add", "Sub", "Max", "Min", "Mean", "Sum")))
    return replace(x, name=g.node("Relu", [g.node(op, [x.name, y])]))


@block
def dense(g: Builder, draw: Draw, x: Map) -> Map:
    """Concat of unequal branches."""
    growth = _width(draw)
    y = _act(g, draw, _conv(g, draw, x, growth))
    parts = [x.name, y] if draw(st.booleans()) else [y, x.name]
    axis = draw(st.sampled_from((1, -3))) if g.opset >= 11 else 1
    return replace(x, name=g.node("Concat", parts, axis=axis), channels=x.channels + growth)


@block
def twice(g: Builder, draw: Draw, x: Map) -> Map:
    """Concat of the same tensor twice."""
    y = g.node("Concat", [x.name, x.name], axis=1)
    return replace(x, name=y, channels=2 * x.channels)


@block
def gate(g: Builder, draw: Draw, x: Map) -> Map:
    """A gated linear unit: half times the sigmoid of the other half."""
    c = _width(draw)
    a, b = g.split(_conv(g, draw, x, 2 * c), [c, c])
    y = g.node("Mul", [a, g.node("Sigmoid", [b])])
    return replace(x, name=y, channels=c)


@block
def cross_stage(g: Builder, draw: Draw, x: Map) -> Map:
    """An uneven split, a branch through one part, all concatenated again (C2f)."""
    c = _width(draw)
    first = draw(st.integers(1, c))
    a, b = g.split(_conv(g, draw, x, first + c), [first, c])
    y = Map(b, c, x.height, x.width)
    y = _act(g, draw, _conv(g, draw, y, c, 3))
    return replace(x, name=g.node("Concat", [a, b, y], axis=1), channels=first + 2 * c)


@block
def shuffle(g: Builder, draw: Draw, x: Map) -> Map:
    x = _quad(g, draw, x)
    groups = draw(st.sampled_from((2, 4)))
    lead = draw(st.sampled_from((0, -1)))
    c, h, w = x.channels, x.height, x.width
    y = g.reshape(x.name, [lead, groups, c // groups, h, w])
    y = g.node("Transpose", [y], perm=[0, 2, 1, 3, 4])
    return replace(x, name=g.reshape(y, [lead, c, h, w]))


@block
def mask(g: Builder, draw: Draw, x: Map) -> Map:
    """A map of one channel times all channels."""
    y = g.node("Sigmoid", [_conv(g, draw, x, 1)])
    return replace(x, name=g.node("Mul", draw(st.permutations([x.name, y]))))


@block
def channel_pad(g: Builder, draw: Draw, x: Map) -> Map:
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 3))
    y = g.pad(x.name, [0, before, 0, 0, 0, after, 0, 0])
    return replace(x, name=y, channels=x.channels + before + after)


@block
def channel_crop(g: Builder, draw: Draw, x: Map) -> Map:
    before, after = draw(st.integers(-1, 1)), draw(st.integers(-1, 1))
    y = g.pad(x.name, [0, before, 0, 0, 0, after, 0, 0])
    return replace(x, name=y, channels=x.channels + before + after)


@block
def spatial_pad(g: Builder, draw: Draw, x: Map) -> Map:
    mode = draw(st.sampled_from(("constant", "edge", "reflect")))
    y = g.pad(x.name, [0, 0, 1, 1, 0, 0, 1, 1], mode)
    y = g.conv(y, x.channels, x.channels, 3, bias=draw(st.booleans()))
    y = g.slice(y, 1, -1, 2)
    return replace(x, name=g.slice(y, 1, x.width + 1, 3))


@block
def slices(g: Builder, draw: Draw, x: Map) -> Map:
    step = draw(st.sampled_from((1, 2, -1, -2, 3))) if g.opset >= 10 else 1
    c = x.channels
    start, end = (draw(st.integers(0, 2)), c - draw(st.integers(0, 1))) if step > 0 else (
        draw(st.sampled_from((-1, c - 1, 100))), draw(st.sampled_from((-(2**31), -c - 1)))
    )  # fmt: skip
    chosen = np.arange(c)[slice(start, end, step) if step > 0 else slice(None, None, step)]
    if step < 0 and start != 100:
        chosen = np.arange(c)[start::step]
    if chosen.size < 2:
        return x
    return replace(x, name=g.slice(x.name, start, end, 1, step), channels=chosen.size)


@block
def halves(g: Builder, draw: Draw, x: Map) -> Map:
    """Both halves by Slice, swapped (a roll)."""
    cut = draw(st.integers(1, x.channels - 1))
    a, b = g.slice(x.name, 0, cut), g.slice(x.name, cut, 2**31)
    return replace(x, name=g.node("Concat", [b, a], axis=1))


@block
def gathered(g: Builder, draw: Draw, x: Map) -> Map:
    c = x.channels
    indices = draw(st.lists(st.integers(-c, c - 1), min_size=2, max_size=c + 3))
    if g.opset < 11:
        indices = [i % c for i in indices]
    y = g.node("Gather", [x.name, g.ints(indices)], axis=1)
    return replace(x, name=y, channels=len(indices))


@block
def permuted(g: Builder, draw: Draw, x: Map) -> Map:
    order = draw(st.permutations(range(x.channels)))
    return replace(x, name=g.node("Gather", [x.name, g.ints(order)], axis=1))


@block
def tile(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.node("Tile", [x.name, g.ints([1, 2, 1, 1])])
    return replace(x, name=y, channels=2 * x.channels)


# --- channels last, shapes ----------------------------------------------------------------------


@block
def channels_last(g: Builder, draw: Draw, x: Map) -> Map:
    """Transpose, MatMul with batch norm as Mul and Add, Transpose back."""
    cout = _width(draw)
    y = g.node("Transpose", [x.name], perm=[0, 2, 3, 1])
    y = g.node("MatMul", [y, g.normal(x.channels, cout)])
    y = g.node("Mul", [y, g.weight(g._vector(cout, 1.0), "scale")])
    y = g.node("Add", [g.weight(g._vector(cout, 0.0), "shift"), y])
    y = g.node("Transpose", [_act(g, draw, y)], perm=[0, 3, 1, 2])
    return replace(x, name=y, channels=cout)


@block
def weight_transposed(g: Builder, draw: Draw, x: Map) -> Map:
    """A MatMul weight stored the other way round."""
    cout = _width(draw)
    w = g.node("Transpose", [g.normal(cout, x.channels)], perm=[1, 0])
    y = g.node("Transpose", [x.name], perm=[0, 2, 3, 1])
    y = g.node("Transpose", [g.node("MatMul", [y, w])], perm=[0, 3, 1, 2])
    return replace(x, name=y, channels=cout)


@block
def weight_reshaped(g: Builder, draw: Draw, x: Map) -> Map:
    """A 1x1 convolution's weight stored as a matrix."""
    cout = _width(draw)
    w = g.reshape(g.normal(cout, x.channels), [cout, x.channels, 1, 1])
    return replace(x, name=g.node("Conv", [x.name, w]), channels=cout)


@block
def matmul_left(g: Builder, draw: Draw, x: Map) -> Map:
    """W x with the pixels flattened."""
    cout = _width(draw)
    y = g.reshape(x.name, [0, 0, -1])
    y = g.node("MatMul", [g.normal(cout, x.channels), y])
    y = g.node("Add", [y, g.normal(cout, 1, stem="b")])
    return replace(x, name=g.reshape(y, [0, 0, x.height, x.width]), channels=cout)


@block
def axes_in_and_out(g: Builder, draw: Draw, x: Map) -> Map:
    axis = draw(st.integers(1, 4))
    y = g.squeeze(g.node("Relu", [g.unsqueeze(x.name, [axis])]), [axis])
    return replace(x, name=y)


@block
def computed_reshape(g: Builder, draw: Draw, x: Map) -> Map:
    """The target is put together from Shape, as exporters do; flattens the pixels and back."""
    shape = g.node("Shape", [x.name])
    lead = g.node("Gather", [shape, g.ints([0, 1])], axis=0)
    flat = g.node("Concat", [lead, g.ints([-1])], axis=0)
    y = g.node("Relu", [g.node("Reshape", [x.name, flat])])
    y = g.node("Reshape", [y, shape])
    return replace(x, name=y)


@block
def fold_spatial(g: Builder, draw: Draw, x: Map) -> Map:
    """Space to depth by Reshape and Transpose."""
    if x.height % 2 or x.width % 2 or x.height < 4:
        return x
    c, h, w = x.channels, x.height // 2, x.width // 2
    y = g.reshape(x.name, [-1, c, h, 2, w, 2])
    y = g.node("Transpose", [y], perm=[0, 1, 3, 5, 2, 4])
    y = g.reshape(y, [-1, 4 * c, h, w])
    y = g.conv(y, 4 * c, 8, 1)
    return Map(y, 8, h, w)


@block
def pixel_shuffle(g: Builder, draw: Draw, x: Map) -> Map:
    if x.height > 8:
        return x
    c, h, w = 4, x.height, x.width
    y = g.reshape(_conv(g, draw, x, 4 * c), [-1, c, 2, 2, h, w])
    y = g.node("Transpose", [y], perm=[0, 1, 4, 2, 5, 3])
    return Map(g.reshape(y, [-1, c, 2 * h, 2 * w]), c, 2 * h, 2 * w)


# --- pointwise ----------------------------------------------------------------------------------


@block
def prelu(g: Builder, draw: Draw, x: Map) -> Map:
    slope = g.weight(g._vector(x.channels, 0.2).reshape(-1, 1, 1), "slope")
    return replace(x, name=g.node("PRelu", [x.name, slope]))


@block
def clip(g: Builder, draw: Draw, x: Map) -> Map:
    return replace(x, name=g.clip(x.name, 0.0, 6.0))


@block
def where(g: Builder, draw: Draw, x: Map) -> Map:
    zero = g.weight(np.float32(0), "zero", "initializer")
    positive = g.node("Greater", [x.name, zero])
    other = draw(st.sampled_from(("scalar", "vector", "map")))
    if other == "scalar":
        y = g.weight(np.float32(-0.5), "half", "initializer")
    elif other == "vector":
        y = g.weight(g._vector(x.channels, 0.0).reshape(1, -1, 1, 1), "floor")
    else:
        y = g.node("Mul", [x.name, g.weight(np.float32(0.1), "tenth", "initializer")])
    return replace(x, name=g.node("Where", [positive, x.name, y]))


@block
def affine(g: Builder, draw: Draw, x: Map) -> Map:
    rank = draw(st.sampled_from((3, 4)))
    shape = (1,) * (rank - 3) + (x.channels, 1, 1)
    y = g.node("Mul", [x.name, g.weight(g._vector(x.channels, 1.0).reshape(shape), "scale")])
    y = g.node("Add", [y, g.weight(g._vector(x.channels, 0.0).reshape(shape), "shift")])
    divisor = g.weight(np.abs(g._vector(x.channels, 1.0)).reshape(shape) + 0.5, "divisor")
    return replace(x, name=g.node("Div", [y, divisor]))


@block
def position(g: Builder, draw: Draw, x: Map) -> Map:
    """A constant of the whole map's shape (the batch apart) is added."""
    shape = (1, x.channels, x.height, x.width)
    extra = (0.1 * g.rng.standard_normal(shape)).astype(np.float32)
    return replace(x, name=g.node("Add", [x.name, g.weight(extra, "map")]))


@block
def dropout(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.node("Identity", [g.node("Dropout", [x.name])])
    y = g.node("Cast", [g.node("Cast", [y], to=11)], to=1)
    return replace(x, name=y)


# --- spatial ------------------------------------------------------------------------------------


@block
def pool(g: Builder, draw: Draw, x: Map) -> Map:
    op = draw(st.sampled_from(("MaxPool", "AveragePool")))
    if x.height % 2 or x.width % 2 or x.height <= 2:
        return replace(x, name=g.node(op, [x.name], kernel_shape=[3, 3], pads=[1] * 4))
    y = g.node(op, [x.name], kernel_shape=[2, 2], strides=[2, 2])
    return Map(y, x.channels, x.height // 2, x.width // 2)


@block
def upsampled(g: Builder, draw: Draw, x: Map) -> Map:
    if x.height > 8:
        return x
    sizes = None
    if g.opset >= 11 and isinstance(g.batch, int) and draw(st.booleans()):
        sizes = [g.batch, x.channels, 2 * x.height, 2 * x.width]
    return Map(g.resize(x.name, 2, sizes=sizes), x.channels, 2 * x.height, 2 * x.width)


@block
def squeeze_excite(g: Builder, draw: Draw, x: Map) -> Map:
    if draw(st.booleans()):
        s = g.node("GlobalAveragePool", [x.name])
    else:
        s = g.reduce("ReduceMean", x.name, draw(st.sampled_from(([2, 3], [-1, -2]))))
    hidden = draw(st.sampled_from((2, 4)))
    s = g.node("Relu", [g.conv(s, x.channels, hidden, 1)])
    s = g.node("Sigmoid", [g.conv(s, hidden, x.channels, 1)])
    return replace(x, name=g.node("Mul", draw(st.permutations([x.name, s]))))


@block
def squeeze_excite_linear(g: Builder, draw: Draw, x: Map) -> Map:
    s = g.node("Flatten", [g.node("GlobalMaxPool", [x.name])])
    s = g.node("Relu", [g.gemm(s, x.channels, 4, trans=draw(st.integers(0, 1)))])
    s = g.node("Sigmoid", [g.gemm(s, 4, x.channels, trans=draw(st.integers(0, 1)))])
    s = g.reshape(s, [-1, x.channels, 1, 1]) if draw(st.booleans()) else g.unsqueeze(s, [2, 3])
    return replace(x, name=g.node("Mul", [x.name, s]))


@block
def context(g: Builder, draw: Draw, x: Map) -> Map:
    """Pooled features expanded over the map again (ASPP), concatenated."""
    s = g.reduce(draw(st.sampled_from(("ReduceMean", "ReduceMax"))), x.name, [2, 3])
    s = g.node("Expand", [s, g.ints([1, 1, x.height, x.width])])
    y = g.node("Concat", [x.name, s], axis=1)
    return replace(x, name=y, channels=2 * x.channels)


@block
def expanded_as(g: Builder, draw: Draw, x: Map) -> Map:
    """Pooled features expanded to the shape that a tensor with channels of its own has."""
    s = g.node("GlobalMaxPool", [x.name])
    y = _act(g, draw, _conv(g, draw, x, x.channels))
    s = g.node("Expand", [s, g.node("Shape", [draw(st.sampled_from((x.name, y)))])])
    y = g.node("Concat", [y, s], axis=1)
    return replace(x, name=y, channels=2 * x.channels)


@block
def expanded(g: Builder, draw: Draw, x: Map) -> Map:
    """One channel expanded to all."""
    y = g.node("Expand", [_conv(g, draw, x, 1), g.ints([1, x.channels, 1, 1])])
    return replace(x, name=g.node("Add", [x.name, y]))


@block
def subtract_mean(g: Builder, draw: Draw, x: Map) -> Map:
    op = draw(st.sampled_from(("ReduceMean", "ReduceSum", "ReduceL2")))
    m = g.unsqueeze(g.reduce(op, x.name, [3], keepdims=0), [3])
    return replace(x, name=g.node("Sub", [x.name, m]))


@block
def instance_norm(g: Builder, draw: Draw, x: Map) -> Map:
    scale, shift = (g.weight(g._vector(x.channels, v), "in") for v in (1.0, 0.0))
    return replace(x, name=g.node("InstanceNormalization", [x.name, scale, shift], epsilon=1e-2))


@block
def channel_attention(g: Builder, draw: Draw, x: Map) -> Map:
    """Not exact: a mean over the channels gates the map."""
    m = g.node("Sigmoid", [g.reduce("ReduceMean", x.name, [1])])
    return replace(x, name=g.node("Mul", [x.name, m]))


@block
def channel_sum(g: Builder, draw: Draw, x: Map) -> Map:
    """A sum over the channels gates the map: exact where what goes is zero by then."""
    y = replace(x, name=draw(st.sampled_from((x.name, _conv(g, draw, x, x.channels)))))
    s = g.reduce(draw(st.sampled_from(("ReduceSum", "ReduceL1", "ReduceSumSquare"))), y.name, [1])
    return replace(x, name=g.node("Add", [y.name, g.node("Tanh", [s])]))


@block
def gram(g: Builder, draw: Draw, x: Map) -> Map:
    """Two activations contracted over their channels: pixels attend to pixels."""
    a, b = (g.reshape(_conv(g, draw, x, 4, 1), [0, 4, x.height * x.width]) for _ in range(2))
    if draw(st.booleans()):
        a = _act(g, draw, a)
    scores = g.node("MatMul", [g.node("Transpose", [a], perm=[0, 2, 1]), b])
    v = g.reshape(x.name, [0, x.channels, x.height * x.width])
    y = g.node("MatMul", [v, g.node("Tanh", [scores])])
    return replace(x, name=g.reshape(y, [0, -1, x.height, x.width]))


@block
def unruled(g: Builder, draw: Draw, x: Map) -> Map:
    """An operator that has no rule: what it touches is kept."""
    if g.opset < 11:
        return x
    axis = g.weight(np.array(1, np.int64), "axis", "initializer")
    return replace(x, name=g.node("CumSum", [x.name, axis]))


@block
def depth_to_space(g: Builder, draw: Draw, x: Map) -> Map:
    if x.channels % 4 or x.height > 8:
        return x
    mode = draw(st.sampled_from(("DCR", "CRD"))) if g.opset >= 11 else None
    y = g.node("DepthToSpace", [x.name], blocksize=2, mode=mode)
    return Map(y, x.channels // 4, 2 * x.height, 2 * x.width)


@block
def space_to_depth(g: Builder, draw: Draw, x: Map) -> Map:
    if x.channels > 8 or x.height % 2 or x.width % 2 or x.height < 4:
        return x
    y = g.node("SpaceToDepth", [x.name], blocksize=2)
    return Map(y, 4 * x.channels, x.height // 2, x.width // 2)


# --- heads --------------------------------------------------------------------------------------


def _head(g: Builder, draw: Draw, x: Map) -> str:
    kind = draw(st.sampled_from(
        ("flatten", "reshape", "gap", "mean", "conv", "matmul", "last", "map", "computed")
    ))  # fmt: skip
    size = x.channels * x.height * x.width
    trans = draw(st.integers(0, 1))
    if kind == "flatten":
        return g.gemm(g.node("Flatten", [x.name]), size, 5, trans=trans)
    if kind == "reshape":
        lead = draw(st.sampled_from(([0, -1], [-1, size])))
        return g.gemm(g.reshape(x.name, lead), size, 5, trans=trans, bias=draw(st.booleans()))
    if kind == "computed":
        n = g.node("Gather", [g.node("Shape", [x.name]), g.ints(0)], axis=0)
        target = g.node("Concat", [g.unsqueeze(n, [0]), g.ints([-1])], axis=0)
        return g.gemm(g.node("Reshape", [x.name, target]), size, 5, trans=trans)
    if kind == "gap":
        y = g.node("Flatten", [g.node("GlobalAveragePool", [x.name])])
        return g.gemm(y, x.channels, 5, trans=trans)
    if kind == "mean":
        y = g.reduce("ReduceMean", x.name, [2, 3], keepdims=0)
        return g.gemm(y, x.channels, 5, trans=trans, bias=draw(st.booleans()))
    if kind == "conv":
        return g.conv(g.node("GlobalAveragePool", [x.name]), x.channels, 5, 1)
    if kind == "matmul":
        y = g.squeeze(g.node("GlobalAveragePool", [x.name]), [2, 3])
        return g.node("Add", [g.node("MatMul", [y, g.normal(x.channels, 5)]), g.normal(5)])
    if kind == "last":
        y = g.node("Transpose", [x.name], perm=[0, 2, 3, 1])
        y = g.node("Flatten", [y])
        return g.gemm(y, size, 5, trans=trans)
    return g.conv(x.name, x.channels, 2, 3)


@st.composite
def graphs(draw: Draw, *, plain: bool = False, max_blocks: int = 5) -> Drawn:
    """Draws a model; ``plain`` ones keep every weight in an initializer that is read directly."""
    opset = draw(st.sampled_from(OPSETS))
    batch = draw(st.sampled_from(("N", "N", 2)))
    storage = "initializer" if plain else draw(st.sampled_from(STORAGES))
    g = Builder(opset, batch, draw(st.integers(0, 2**16)), storage)
    names = sorted(BLOCKS)
    if plain:
        # A sum of activations has no consumer's weight that could hold a change back.
        left_out = {"weight_transposed", "weight_reshaped", "channel_sum", "gram"}
        names = [n for n in names if n not in left_out]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=max_blocks))
    x = Map(g.input(3, 8, 6), 3, 8, 6)
    c = _width(draw)
    x = replace(x, name=g.node("Relu", [g.conv(x.name, 3, c)]), channels=c)
    early = x
    for name in chosen:
        x = BLOCKS[name](g, draw, x)
        if x.channels > 32:
            x = replace(x, name=g.conv(x.name, x.channels, 8, 1), channels=8)
        if x.height > 16:
            x = Map(g.node("AveragePool", [x.name], kernel_shape=[4, 4], strides=[4, 4]),
                    x.channels, x.height // 4, x.width // 4)  # fmt: skip
    x = replace(x, name=g.node("Relu", [g.conv(x.name, x.channels, 8, 1)]), channels=8)
    outputs = [_head(g, draw, x)]
    if draw(st.integers(0, 5)) == 0:
        outputs.append(early.name)  # the stem's channels are an output, so they are kept
    return Drawn(g.model(*outputs), opset, batch, storage, tuple(chosen), plain)
