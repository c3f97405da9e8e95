"""A sum over channels is called exact only where the zeroed dense model agrees."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa
from spa.coupling.zeros import contracted_parameters
from tests.coupling.cases import described, prove
from tests.graphs import Builder


def _conv(g: Builder, channels: int = 6) -> str:
    return g.conv("x", 3, channels)


def _case(name: str) -> tuple[onnx.ModelProto, bool]:
    """A map made in some way, summed over the channels; whether that is exact."""
    g = Builder(13)
    g.input(3, 3, 3)
    x, axis, exact = "", 1, True
    if name == "plain":
        x = _conv(g)
    elif name == "relu":
        x = g.node("Relu", [_conv(g)])
    elif name == "two branches":
        x = g.node("Add", [_conv(g), _conv(g)])
    elif name == "max pool":
        x = g.node("MaxPool", [_conv(g)], kernel_shape=[2, 2])
    elif name == "concat":
        x = g.node("Concat", [_conv(g), _conv(g, 2)], axis=1)
    elif name == "scaled":
        x = g.node("Mul", [_conv(g), g.weight(g._vector(6, 1.0).reshape(6, 1, 1))])
    elif name == "gated":
        x = g.node("Mul", [_conv(g), g.node("Sigmoid", [_conv(g)])])
    elif name == "gated by a mask":
        x = g.node("Mul", [_conv(g), g.node("Sigmoid", [_conv(g, 1)])])
    elif name == "depthwise":
        x = g.conv(g.node("Sigmoid", [_conv(g)]), 6, 6, group=6)
    elif name == "whole groups":
        x = g.conv(g.node("Sigmoid", [_conv(g, 4)]), 4, 8, group=4)
    elif name == "transposed":
        x = g.conv_transpose(g.node("Sigmoid", [_conv(g)]), 6, 6, group=2)
    else:
        exact = False
    if name == "sigmoid":
        x = g.node("Sigmoid", [_conv(g)])
    elif name == "plus a number":
        x = g.node("Add", [_conv(g), g.weight(np.float32(1.0))])
    elif name == "plus a map":
        x = g.node("Add", [_conv(g), g.normal(1, 1, 3, 3)])
    elif name == "plus a mask":
        x = g.node("Add", [_conv(g), _conv(g, 1)])
    elif name == "maximum with a mask":
        x = g.node("Max", [_conv(g, 1), _conv(g)])
    elif name == "a mask times a sigmoid":
        x = g.node("Mul", [_conv(g, 1), g.node("Sigmoid", [_conv(g)])])
    elif name == "a mask expanded":
        x = g.node("Expand", [_conv(g, 1), g.ints([1, 6, 1, 1])])
        x = g.node("Add", [x, _conv(g)])
    elif name == "a mask tiled":
        x = g.node("Add", [g.node("Tile", [_conv(g, 1), g.ints([1, 6, 1, 1])]), _conv(g)])
    elif name == "a mask gathered":
        x = g.node("Add", [g.node("Gather", [_conv(g, 1), g.ints([0] * 6)], axis=1), _conv(g)])
    elif name == "concat with a sigmoid":
        x = g.node("Concat", [_conv(g), g.node("Sigmoid", [_conv(g, 2)])], axis=1)
    elif name == "pixels mixed on the right":
        x = g.reshape(g.node("Sigmoid", [_conv(g)]), [0, 6, 9])
        x = g.node("MatMul", [x, g.normal(9, 4)])
    elif name == "pixels mixed on the left":
        x = g.reshape(g.node("Sigmoid", [_conv(g)]), [0, 6, 9])
        x = g.node("Transpose", [x], perm=[0, 2, 1])
        x, axis = g.node("MatMul", [g.normal(9, 9), x]), 2
    elif name == "pixels mixed by Einsum":
        x = g.reshape(g.node("Sigmoid", [_conv(g)]), [0, 6, 9])
        x = g.node("Einsum", [x, g.normal(9, 4)], equation="ncp,pq->ncq")
    elif name == "two activations":
        a = g.reshape(g.node("Sigmoid", [_conv(g)]), [0, 6, 9])
        b = g.reshape(g.node("Transpose", [_conv(g, 4)], perm=[0, 2, 3, 1]), [0, 9, 4])
        x = g.node("MatMul", [a, b])
    return g.model(g.reduce("ReduceSum", x, [axis])), exact


EXACT = (
    "plain", "relu", "two branches", "max pool", "concat", "scaled", "gated", "gated by a mask",
    "depthwise", "whole groups", "transposed",
)  # fmt: skip
NOT_EXACT = (
    "sigmoid", "plus a number", "plus a map", "plus a mask", "maximum with a mask",
    "a mask times a sigmoid", "a mask expanded", "a mask tiled",
    "a mask gathered", "concat with a sigmoid",
    "pixels mixed on the right", "pixels mixed on the left", "pixels mixed by Einsum",
    "two activations",
)  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_a_sum_of_zeros_is_exact(name):
    proto, _ = _case(name)
    assert not any(line.startswith("~") for line in described(proto))
    prove(proto, plain=False)


@pytest.mark.parametrize("name", NOT_EXACT)
def test_a_sum_of_what_is_not_zero_is_not_exact(name):
    proto, exact = _case(name)
    assert not exact
    lines = described(proto)
    assert lines
    assert any(line.startswith("~") for line in lines)
    result = spa.prune(proto, ratio=0.5, criterion="random", limits=spa.Limits(scope="local"))
    assert not result.proof.equal


def test_a_channel_that_is_normalised_to_nothing_is_not_exact():
    """Mean and deviation of a zeroed channel give 0 / 0, which no zero weight takes away."""
    g = Builder(13)
    x = g.node("MeanVarianceNormalization", [g.conv(g.input(3, 4, 4), 3, 6)])
    proto = g.model(g.conv(x, 6, 4))
    assert described(proto) == ["~6: b0.0 w0.0 w1.1"]
    prove(proto, equal=False, plain=False)


def test_a_weight_computed_along_very_many_paths_is_found_at_once():
    """Swin's masks are: doubling 60 times has 2^60 paths from the end to the start."""
    g = Builder()
    w = g.normal(8, 3, 1, 1)
    for _ in range(60):
        w = g.node("Add", [w, w])
    w = g.node("Mul", [w, g.weight(np.float32(2.0**-60), "scale", "initializer")])
    x = g.node("Relu", [g.node("Conv", [g.input(3, 4, 4), w])])
    model = spa.load(g.model(g.conv(x, 8, 4)))
    assert len(contracted_parameters(model)) >= 2
    assert len(spa.find_groups(model)) == 1
