"""Norms that treat channels apart, and norms that mix them."""

import numpy as np
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import STORAGES, Builder

CHANNELS = "6: b0.0 w0.0 w1.1"


def _around(make, opset: int = 17):
    g = Builder(opset)
    x = make(g, g.conv(g.input(3, 4, 4), 3, 6))
    return g.model(g.conv(x, 6, 4))


@pytest.mark.parametrize("opset", [7, 9, 13, 17, 22])
def test_batch_norm(opset):
    proto = _around(lambda g, x: g.batch_norm(x, 6), opset)
    assert described(proto) == ["6: b0.0 mean0.0 scale0.0 shift0.0 var0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("storage", STORAGES)
def test_batch_norm_wherever_its_vectors_lie(storage):
    g = Builder(storage=storage)
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 4, 4), 3, 6, bias=False), 6)])
    proto = g.model(g.conv(x, 6, 4, bias=False))
    assert described(proto) == ["6: mean0.0 scale0.0 shift0.0 var0.0 w0.0 w1.1"]
    prove(proto, plain=False)


def test_batch_norm_before_the_convolution():
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 6, bias=False)
    y = g.conv(g.node("Relu", [g.batch_norm(x, 6)]), 6, 6, bias=False)
    proto = g.model(g.conv(g.node("Add", [x, y]), 6, 4, bias=False))
    members = "mean0.0 scale0.0 shift0.0 var0.0 w0.0 w1.0 w1.1 w2.1"
    assert described(proto) == [f"6: {members}"]
    prove(proto)


def test_batch_norm_of_features():
    g = Builder()
    x = g.node("Relu", [g.batch_norm(g.gemm(g.input(7), 7, 6), 6)])
    proto = g.model(g.gemm(x, 6, 4))
    assert described(proto) == ["6: b0.0 mean0.0 scale0.0 shift0.0 var0.0 w0.0 w1.1"]
    prove(proto)


def test_batch_norm_of_the_input_is_kept():
    g = Builder()
    x = g.conv(g.batch_norm(g.input(3, 4, 4), 3), 3, 6)
    proto = g.model(g.conv(x, 6, 4))
    assert described(proto) == [CHANNELS.replace("b0.0", "b0.0")]
    assert kept(proto)["scale0.0"].startswith("3 of 3")


def test_batch_norm_written_as_arithmetic():
    """x * scale + shift, with a variance under a root: as Keras exports."""

    def make(g, x):
        var = g.weight(np.abs(g._vector(6, 1.0)).reshape(6, 1, 1), "var")
        deviation = g.node("Sqrt", [g.node("Add", [var, g.weight(np.float32(1e-3), "eps")])])
        scale = g.node("Div", [g.weight(g._vector(6, 1.0).reshape(6, 1, 1), "scale"), deviation])
        shift = g.weight(g._vector(6, 0.0).reshape(6, 1, 1), "shift")
        return g.node("Add", [g.node("Mul", [x, scale]), shift])

    proto = _around(make)
    assert described(proto) == ["6: b0.0 scale0.0 shift0.0 var0.0 w0.0 w1.1"]
    prove(proto, plain=False)


def test_instance_norm_treats_channels_apart():
    def make(g, x):
        vectors = [g.weight(g._vector(6, v), "in") for v in (1.0, 0.0)]
        return g.node("InstanceNormalization", [x, *vectors], epsilon=1e-2)

    proto = _around(make)
    assert described(proto) == ["6: b0.0 in0.0 in1.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_norm_over_the_channels_is_not_exact(axis):
    def make(g, x):
        if axis == 1:
            return g.node("LayerNormalization", [x, g.normal(6, 4, 4, stem="g")], axis=1)
        x = g.node("Transpose", [x], perm=[0, 2, 3, 1])
        x = g.node("LayerNormalization", [x, g.normal(6, stem="g"), g.normal(6, stem="h")])
        return g.node("Transpose", [x], perm=[0, 3, 1, 2])

    proto = _around(make)
    extra = "g0.0" if axis == 1 else "g0.0 h0.0"
    assert described(proto) == [f"~6: b0.0 {extra} w0.0 w1.1"]
    prove(proto, equal=False)


def test_layer_norm_over_pixels_is_exact():
    proto = _around(lambda g, x: g.node("LayerNormalization", [x, g.normal(4, stem="g")]))
    assert described(proto) == [CHANNELS]
    prove(proto)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax", "LpNormalization"])
@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_over_the_channels_these_are_not_exact(op, opset):
    proto = _around(lambda g, x: g.node(op, [x], axis=1), opset)
    assert described(proto) == ["~" + CHANNELS]
    prove(proto, equal=False)


@pytest.mark.parametrize(("opset", "axis"), [(9, 2), (11, 3), (13, -1), (17, 2)])
def test_softmax_over_pixels_is_exact(opset, axis):
    proto = _around(lambda g, x: g.node("Softmax", [x], axis=axis), opset)
    assert described(proto) == [CHANNELS]
    prove(proto)


def test_softmax_of_old_opsets_takes_all_axes_from_its_own_on():
    """Axis 1 by default: channels and pixels together."""
    proto = _around(lambda g, x: g.node("Softmax", [x]), 11)
    assert described(proto) == ["~" + CHANNELS]
    proto = _around(lambda g, x: g.node("Softmax", [x]), 13)
    assert described(proto) == [CHANNELS]


def test_a_window_over_channels_keeps_them():
    proto = _around(lambda g, x: g.node("LRN", [x], size=3))
    assert described(proto) == []
    assert "a window reaches over this axis" in kept(proto)["w0.0"]


def test_only_the_group_with_the_norm_is_not_exact():
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    x = g.conv(x, 8, 6)
    x = g.node("Sub", [x, g.reduce("ReduceMean", x, [1])])
    proto = g.model(g.conv(x, 6, 4))
    assert described(proto) == ["8: b0.0 w0.0 w1.1", "~6: b1.0 w1.0 w2.1"]
