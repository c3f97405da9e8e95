"""Small networks of different kinds, each with what only its kind can have wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from tests.feeds import Input
from tests.graphs import Builder, classifier
from tests.random_graphs.counting import integer
from tests.random_graphs.registry import concat, permute, scalar, shape_part


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        proto: the file.
        inputs: what it takes.
        sizes: of each free size, a few.
    """

    proto: onnx.ModelProto
    inputs: tuple[Input, ...]
    sizes: dict[str, tuple[int, ...]]


NETWORKS: dict[str, Callable[[], Network]] = {}
Make = Callable[[Builder], tuple[str, tuple[Input, ...]]]


def network(name: str, **sizes: tuple[int, ...]) -> Callable[[Make], Make]:
    """Registers what adds a network to a builder."""

    def register(make: Make) -> Make:
        def build() -> Network:
            g = Builder()
            y, inputs = make(g)
            return Network(g.model(y), inputs, {"N": (1, 2, 3, 5), **sizes})

        NETWORKS[name] = build
        return make

    return register


def picture(g: Builder, *shape: int | str) -> tuple[str, tuple[Input, ...]]:
    shape = shape or (3, 8, 8)
    name = g.input(*shape)
    return name, (Input(name, ("N", *shape)),)


def block(g: Builder, x: str, cin: int, cout: int, k: int = 3, **more: int) -> str:
    return g.node("Relu", [g.batch_norm(g.conv(x, cin, cout, k, **more), cout)])


def pooled(g: Builder, x: str, width: int) -> str:
    return g.gemm(g.node("Flatten", [g.node("GlobalAveragePool", [x])]), width, 5)


def linear(g: Builder, x: str, cin: int, cout: int) -> str:
    return g.node("Add", [g.node("MatMul", [x, g.normal(cin, cout)]), g.normal(cout, stem="b")])


@network("cnn")
def cnn(g: Builder) -> tuple[str, tuple[Input, ...]]:
    x, inputs = picture(g)
    x = block(g, block(g, x, 3, 8), 8, 12, stride=2)
    return g.gemm(g.node("Flatten", [x]), 12 * 16, 5), inputs


def residual() -> Network:
    return Network(classifier(), (Input("x", ("N", 3, 8, 8)),), {"N": (1, 2, 3, 5)})


NETWORKS["residual"] = residual


@network("padded shortcut")
def shortcut(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """Channels of zeros stand before and behind those of a wider stage's shortcut."""
    x, inputs = picture(g)
    x = block(g, x, 3, 8)
    y = block(g, block(g, x, 8, 10, stride=2), 10, 14)
    less = g.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = g.node("Relu", [g.node("Add", [g.pad(less, [0, 2, 0, 0, 0, 4, 0, 0]), y])])
    return pooled(g, block(g, x, 14, 8), 8), inputs


@network("concat and split")
def dense(g: Builder) -> tuple[str, tuple[Input, ...]]:
    x, inputs = picture(g)
    x = block(g, x, 3, 8)
    x = concat(g, [x, block(g, x, 8, 6)], 1)
    x = concat(g, [x, block(g, x, 14, 6)], 1)
    a, b = g.split(g.conv(x, 20, 20, 1), [8, 12])
    x = concat(g, [g.conv(g.node("Sigmoid", [a]), 8, 6, 1), g.conv(b, 12, 8, 1)], 1)
    return pooled(g, concat(g, [g.slice(x, 5, 14), g.slice(x, 0, 5)], 1), 14), inputs


@network("depthwise")
def depthwise(g: Builder) -> tuple[str, tuple[Input, ...]]:
    x, inputs = picture(g)
    x = block(g, x, 3, 8)
    y = block(g, block(g, x, 8, 16, 1), 16, 16, 3, group=16)
    gate = g.node("Relu", [g.conv(g.node("GlobalAveragePool", [y]), 16, 6, 1)])
    y = g.node("Mul", [y, g.node("Sigmoid", [g.conv(gate, 6, 16, 1)])])
    return pooled(g, g.node("Add", [x, g.batch_norm(g.conv(y, 16, 8, 1), 8)]), 8), inputs


@network("grouped")
def grouped(g: Builder) -> tuple[str, tuple[Input, ...]]:
    x, inputs = picture(g)
    x = block(g, block(g, x, 3, 12), 12, 12, 3, group=3)
    return pooled(g, block(g, x, 12, 8, 1), 8), inputs


@network("shuffle")
def shuffle(g: Builder) -> tuple[str, tuple[Input, ...]]:
    x, inputs = picture(g)
    x = block(g, block(g, x, 3, 12), 12, 12, 1, group=2)
    x = permute(g, g.reshape(x, [0, 2, 6, 8, 8]), 0, 2, 1, 3, 4)
    x = block(g, g.reshape(x, [-1, 12, 8, 8]), 12, 12, 3, group=12)
    x = g.node("Gather", [x, g.ints([5, 0, 7, 2, 11, 4, 9, 6, 1, 8, 3, 10])], axis=1)
    return pooled(g, block(g, x, 12, 8, 1), 8), inputs


TOKENS = {"T": (1, 4, 7, 9)}


def words(g: Builder, width: int) -> tuple[str, tuple[Input, ...]]:
    x, inputs = picture(g, "T", 6)
    return linear(g, x, 6, width), inputs


def attended(g: Builder, q: str, k: str, v: str, size: int) -> str:
    """(N, heads, T, size) each."""
    scores = g.node("MatMul", [q, permute(g, k, 0, 1, 3, 2)])
    scores = g.node("Div", [scores, scalar(g, float(np.sqrt(size)))])
    return g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])


@network("attention", **TOKENS)
def attention(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """Views by sizes from Shape, as torch exports them; an MLP behind."""
    x, inputs = words(g, 12)
    n, t = shape_part(g, x, 0), shape_part(g, x, 1)
    target = concat(g, [n, t, g.ints([4, 3])], 0)
    q, k, v = (permute(g, g.node("Reshape", [linear(g, x, 12, 12), target]), 0, 2, 1, 3)
               for _ in range(3))  # fmt: skip
    y = permute(g, attended(g, q, k, v, 3), 0, 2, 1, 3)
    y = g.node("Reshape", [y, concat(g, [n, t, g.ints([12])], 0)])
    x = g.node("Add", [x, linear(g, y, 12, 12)])
    y = g.node("Relu", [linear(g, x, 12, 16)])
    wide = g.node("Gather", [g.node("Shape", [y]), g.ints(2)], axis=0)
    y = g.node("Div", [y, g.node("Sqrt", [g.node("Cast", [wide], to=1)])])
    return linear(g, y, 16, 5), inputs


@network("summaries", T=(1, 7, 9, 18))
def summaries(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """A mean is repeated ceil(T / 8) times, each time at a place of its own."""
    x, inputs = words(g, 12)
    n, t = shape_part(g, x, 0), shape_part(g, x, 1)
    count = integer(g, "Div", integer(g, "Add", t, 7), 8)
    mean = linear(g, g.reduce("ReduceMean", x, [1]), 12, 1)
    y = g.node("Expand", [mean, concat(g, [n, count, g.ints([16])], 0)])
    places = g.weight(g.rng.standard_normal((1, 9, 16)).astype(np.float32), "places")
    places = g.node("Slice", [places, g.ints([0]), count, g.ints([1])])
    return linear(g, g.node("Add", [y, places]), 16, 5), inputs


@network("packed attention", **TOKENS)
def packed(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """q, k and v in one layer, picked by Gather; heads and batch are one axis (torch's own)."""
    x, inputs = words(g, 12)
    n, t = shape_part(g, x, 0), shape_part(g, x, 1)
    qkv = g.node("Reshape", [linear(g, x, 12, 36), concat(g, [n, t, g.ints([3, 4, 3])], 0)])
    qkv = permute(g, qkv, 2, 0, 3, 1, 4)
    rows = concat(g, [integer(g, "Mul", n, 4), t, g.ints([3])], 0)
    q, k, v = (g.node("Reshape", [g.node("Gather", [qkv, g.ints(i)], axis=0), rows])
               for i in range(3))  # fmt: skip
    scores = g.node("MatMul", [q, permute(g, k, 0, 2, 1)])
    scores = g.node("Mul", [scores, scalar(g, 3**-0.5)])
    y = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
    y = g.node("Reshape", [y, concat(g, [n, g.ints([4]), t, g.ints([3])], 0)])
    y = g.node("Reshape", [permute(g, y, 0, 2, 1, 3), concat(g, [n, t, g.ints([12])], 0)])
    return linear(g, y, 12, 5), inputs


@network("shared heads", **TOKENS)
def shared(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """Four query heads, two of keys and values, which are repeated."""
    x, inputs = words(g, 12)
    q = permute(g, g.reshape(linear(g, x, 12, 16), [0, 0, 4, 4]), 0, 2, 1, 3)

    def repeated() -> str:
        y = permute(g, g.reshape(linear(g, x, 12, 8), [0, 0, 2, 4]), 0, 2, 1, 3)
        t = shape_part(g, y, 2)
        y = g.node("Expand", [g.unsqueeze(y, [2]), g.ints([1, 1, 2, 1, 1])])
        return g.node("Reshape", [y, concat(g, [g.ints([0, 4]), t, g.ints([4])], 0)])

    y = permute(g, attended(g, q, repeated(), repeated(), 4), 0, 2, 1, 3)
    return linear(g, g.reshape(y, [0, 0, 16]), 16, 5), inputs


@network("recurrent", **TOKENS)
def recurrent(g: Builder) -> tuple[str, tuple[Input, ...]]:
    x, inputs = words(g, 8)
    weights = [g.normal(1, 40, 8), g.normal(1, 40, 10), g.normal(1, 80, stem="b")]
    y = g.node("LSTM", [permute(g, x, 1, 0, 2), *weights], hidden_size=10)
    return linear(g, permute(g, g.squeeze(y, [1]), 1, 0, 2), 10, 5), inputs


@network("unet", H=(8, 9, 11, 14), W=(8, 7, 10, 13))
def unet(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """What was halved and doubled is padded to the skip's size."""
    x, inputs = picture(g, 3, "H", "W")
    skip = block(g, x, 3, 8)
    low = block(g, g.node("MaxPool", [skip], kernel_shape=[2, 2], strides=[2, 2]), 8, 12)
    low = g.conv_transpose(low, 12, 8, 2, stride=2)
    lacks = [g.node("Sub", [shape_part(g, skip, k), shape_part(g, low, k)]) for k in (2, 3)]
    none = g.ints([0])
    low = g.node("Pad", [low, concat(g, [none, none, none, none, none, none, *lacks], 0)])
    x = block(g, concat(g, [skip, low], 1), 16, 8)
    sizes = g.slice(g.node("Shape", [inputs[0].name]), 2, 4, 0)
    coarse = g.conv(g.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2]), 8, 6, 1)
    lead = g.slice(g.node("Shape", [coarse]), 0, 2, 0)
    back = g.node("Resize", [coarse, "", "", concat(g, [lead, sizes], 0)], mode="nearest")
    return g.conv(concat(g, [x, back], 1), 14, 3, 1), inputs


@network("patches", H=(8, 12, 16, 20), W=(8, 16, 12, 24))
def patches(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """A picture cut into tokens; how many there are is left to the Reshape (its -1)."""
    x, inputs = picture(g, 3, "H", "W")
    x = block(g, x, 3, 12, stride=4)
    tokens = g.node("Reshape", [x, concat(g, [shape_part(g, x, 0), g.ints([12, -1])], 0)])
    return linear(g, permute(g, tokens, 0, 2, 1), 12, 5), inputs


@network("detector", H=(8, 12, 16, 20), W=(8, 16, 12, 24))
def detector(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """Boxes in pixels beside scores of about 0.01, of two levels, one behind the other."""
    x, inputs = picture(g, 3, "H", "W")
    x = block(g, x, 3, 8, stride=2)
    levels = []
    for y, width in ((x, 8), (block(g, x, 8, 12, stride=2), 12)):
        boxes = g.conv(block(g, y, width, 8), 8, 8, 1)
        bins = g.node("Softmax", [g.reshape(boxes, [0, 4, 2, -1])], axis=2)
        bins = g.node("Mul", [bins, g.weight(np.float32([[[1], [640]]]), "bins")])
        boxes = g.reduce("ReduceSum", bins, [2], keepdims=0)
        scores = g.node("Sigmoid", [g.conv(block(g, y, width, 8), 8, 3, 1)])
        scores = g.node("Mul", [g.reshape(scores, [0, 3, -1]), scalar(g, 0.01)])
        levels.append(concat(g, [boxes, scores], 1))
    return permute(g, concat(g, levels, 2), 0, 2, 1), inputs


@network("quantised")
def quantised(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """Weights of eight bits, a scale for every output channel."""
    x, inputs = picture(g)

    def weight(*shape: int) -> str:
        whole = g.rng.integers(-100, 100, shape).astype(np.int8)
        scale = (0.2 + g.rng.random(shape[0])).astype(np.float32) / np.prod(shape[1:]) / 20
        names = [
            g.weight(whole, "q"), g.weight(scale.astype(np.float32), "s"),
            g.weight(np.zeros(shape[0], np.int8), "z"),
        ]  # fmt: skip
        return g.node("DequantizeLinear", names, axis=0)

    x = g.node("Relu", [g.conv(x, 3, 8, weight=weight(8, 3, 3, 3))])
    x = g.node("Relu", [g.conv(x, 8, 12, weight=weight(12, 8, 3, 3))])
    return pooled(g, x, 12), inputs


@network("closed gate", **TOKENS)
def closed(g: Builder) -> tuple[str, tuple[Input, ...]]:
    """A branch that counts for nothing yet, behind a scale of zero, and a norm over what goes."""
    x, inputs = words(g, 12)
    norm = g.node(
        "LayerNormalization",
        [x, g.weight(g._vector(12, 1.0), "scale"), g.weight(g._vector(12, 0.0), "shift")],
    )
    y = linear(g, g.node("Gelu" if g.opset >= 20 else "Tanh", [linear(g, norm, 12, 16)]), 16, 12)
    y = g.node("Mul", [y, g.weight(np.zeros(12, np.float32), "gate")])
    return linear(g, g.node("Add", [x, y]), 12, 5), inputs
