"""DFT, STFT and Det: the axes that they transform are kept, the others pass."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder


def _spectrum(opset: int, axis: int, **attrs) -> tuple[Builder, str]:
    """The DFT of a map (N, C, T, 1) along an axis; opset 20 takes the axis as an input."""
    g = Builder(opset)
    x = g.unsqueeze(g.reshape(g.conv(g.input(3, 4, 4), 3, 8), [0, 8, 16]), [3])
    if opset >= 20:
        return g, g.node("DFT", [x, "", g.ints(axis)], **attrs)
    return g, g.node("DFT", [x], axis=axis, **attrs)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("attrs", [{}, {"onesided": 1}])
def test_a_transform_over_time_passes_channels(opset, attrs):
    g, x = _spectrum(opset, 2, **attrs)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_without_an_axis_the_last_but_one_is_transformed():
    g = Builder(20)
    x = g.unsqueeze(g.reshape(g.conv(g.input(3, 4, 4), 3, 8), [0, 8, 16]), [3])
    proto = g.model(g.conv(g.node("DFT", [x]), 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("opset", [17, 20])
def test_a_transform_over_channels_keeps_them(opset):
    g, x = _spectrum(opset, 1)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == []
    assert "a transform is taken" in kept(proto)["w0.0"]


def test_a_sum_of_transforms_of_zeros_is_exact():
    g, x = _spectrum(20, 2)
    proto = g.model(g.reduce("ReduceSum", x, [1]))
    assert described(proto) == ["8: b0.0 w0.0"]
    prove(proto, plain=False)


def test_a_spectrogram_that_a_network_reads():
    """Sound to frames to a network: the frames are kept, the network's channels may go."""
    g = Builder(17)
    sound = g.unsqueeze(g.input(64), [2])
    step, window = g.ints(8), g.node("HannWindow", [g.ints(16)])
    x = g.node("STFT", [sound, step, window, g.ints(16)])  # (N, 7, 9, 2)
    power = g.reduce("ReduceSumSquare", x, [3])
    mel = g.node("MelWeightMatrix", [g.ints(6), g.ints(16), g.ints(100),
                                     *(g.weight(np.float32(v), "v") for v in (0, 50))])  # fmt: skip
    x = g.node("Transpose", [g.node("MatMul", [g.squeeze(power, [3]), mel])], perm=[0, 2, 1])
    y = g.node("Relu", [g.conv(x, 6, 8, rank=1)])
    proto = g.model(g.conv(y, 8, 5, rank=1))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_a_window_meets_a_tracked_axis(op):
    """Its numbers depend on the axis's size, so the axis stays."""
    g = Builder(17)
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 8)], perm=[0, 2, 3, 1])
    x = g.node("Mul", [x, g.node(op, [g.ints(8)])])
    proto = g.model(g.conv(g.node("Transpose", [x], perm=[0, 3, 1, 2]), 8, 5))
    assert described(proto) == []
    assert "kept" in kept(proto)["w0.0"]


def test_a_determinant_passes_channels():
    g = Builder(11)
    x = g.node("Det", [g.conv(g.input(3, 4, 4), 3, 8)])
    proto = g.model(g.gemm(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto, plain=False)


def test_a_determinant_over_channels_keeps_them():
    g = Builder(11)
    x = g.node("Transpose", [g.conv(g.input(3, 8, 4), 3, 8)], perm=[0, 3, 1, 2])
    proto = g.model(g.gemm(g.node("Det", [x]), 4, 5))
    assert described(proto) == []
    assert "a determinant" in kept(proto)["w0.0"]


def test_bits_seen_as_another_type_pass_channels():
    g = Builder(26)
    x = g.node("BitCast", [g.conv(g.input(3, 4, 4), 3, 8)], to=TensorProto.INT32)
    x = g.node("BitCast", [g.node("BitwiseAnd", [x, g.weight(np.int32(0x7FFFFFFF), "m")])], to=1)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)
