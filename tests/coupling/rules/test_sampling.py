"""Random operators: an output in the shape of a tensor follows its channels."""

from __future__ import annotations

import pytest
from onnx import TensorProto

import spa
from tests.coupling.cases import described, kept
from tests.graphs import Builder, initializer


@pytest.mark.parametrize("op", ["Bernoulli", "RandomNormalLike", "RandomUniformLike"])
def test_noise_in_the_shape_of_a_tensor(op):
    g = Builder(15)
    x = g.node("Sigmoid", [g.conv(g.input(3, 4, 4), 3, 8)])
    y = g.node("Add", [x, g.node(op, [x])])
    proto = g.model(g.conv(y, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    result = spa.prune(proto, ratio=0.5, criterion="random", limits=spa.Limits(scope="local"))
    assert initializer(result.model, "w1").shape == (5, 4, 3, 3)
    assert any("random" in check for check in result.proof.checks)


def test_classes_that_are_drawn_are_kept():
    g = Builder(13)
    x = g.node("Flatten", [g.node("GlobalAveragePool", [g.conv(g.input(3, 4, 4), 3, 8)])])
    drawn = g.node("Cast", [g.node("Multinomial", [x], sample_size=4)], to=TensorProto.FLOAT)
    y = g.gemm(drawn, 4, 6)
    proto = g.model(g.gemm(g.node("Relu", [y]), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    assert "numbers the entries" in kept(proto)["w0.0"]
