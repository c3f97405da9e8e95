"""A narrow network hidden in a wide one comes back exactly, whatever its structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from tests.graphs import Builder, attribute, initializer
from tests.oracles import AxisSpec, plant

Case = tuple[onnx.ModelProto, dict[str, list[AxisSpec]], dict[str, int]]
CASES: dict[str, Callable[[], Case]] = {}


def case(function: Callable[[], Case]) -> Callable[[], Case]:
    CASES[function.__name__] = function
    return function


def one(symbol: str, inner: int = 1, outer: int = 1) -> list[tuple[str, int, int]]:
    return [(symbol, inner, outer)]


def _norm(number: int, symbol: str) -> dict[str, list[AxisSpec]]:
    return {f"{stem}{number}": [one(symbol)] for stem in ("scale", "shift", "mean", "var")}


@case
def residual() -> Case:
    g = Builder(seed=1)
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 6, 6), 3, 4, bias=False), 4)])
    y = g.node("Relu", [g.batch_norm(g.conv(x, 4, 6, bias=False), 6)])
    y = g.batch_norm(g.conv(y, 6, 4, bias=False), 4)
    x = g.node("Relu", [g.node("Add", [x, y])])
    proto = g.model(g.gemm(g.node("Flatten", [g.node("GlobalAveragePool", [x])]), 4, 5))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a"), 3, 3, 3], **_norm(0, "a"),
        "w1": [one("b"), one("a"), 3, 3], **_norm(1, "b"),
        "w2": [one("a"), one("b"), 3, 3], **_norm(2, "a"),
        "w3": [5, one("a")],
    }  # fmt: skip
    return proto, specs, {"a": 4, "b": 6}


@case
def plain_with_a_flatten() -> Case:
    g = Builder(seed=2)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 5)])
    x = g.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = g.node("Relu", [g.conv(x, 5, 3)])
    x = g.node("Relu", [g.gemm(g.node("Flatten", [x]), 12, 7, trans=0)])
    proto = g.model(g.gemm(x, 7, 5))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a"), 3, 3, 3], "b0": [one("a")],
        "w1": [one("b"), one("a"), 3, 3], "b1": [one("b")],
        "w2": [one("b", inner=4), one("c")], "b2": [one("c")],
        "w3": [5, one("c")],
    }  # fmt: skip
    return proto, specs, {"a": 5, "b": 3, "c": 7}


@case
def dense() -> Case:
    g = Builder(seed=3)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 4)])
    y = g.node("Relu", [g.conv(x, 4, 2)])
    z = g.node("Concat", [x, y, x], axis=1)
    proto = g.model(g.conv(z, 10, 5))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a"), 3, 3, 3], "b0": [one("a")],
        "w1": [one("b"), one("a"), 3, 3], "b1": [one("b")],
        "w2": [5, [("a", 1, 1), ("b", 1, 1), ("a", 1, 1)], 3, 3],
    }  # fmt: skip
    return proto, specs, {"a": 4, "b": 2}


@case
def depthwise() -> Case:
    g = Builder(seed=4)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 4)])
    x = g.node("Relu", [g.conv(x, 4, 4, group=4)])
    x = g.node("Relu", [g.conv(x, 4, 6, 1)])
    proto = g.model(g.conv(x, 6, 5, 1))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a"), 3, 3, 3], "b0": [one("a")],
        "w1": [one("a"), 1, 3, 3], "b1": [one("a")],
        "w2": [one("b"), one("a"), 1, 1], "b2": [one("b")],
        "w3": [5, one("b"), 1, 1],
    }  # fmt: skip
    return proto, specs, {"a": 4, "b": 6}


@case
def grouped() -> Case:
    g = Builder(seed=5)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 6)])
    x = g.node("Relu", [g.conv(x, 6, 8, group=2)])
    proto = g.model(g.conv(x, 8, 5))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a", outer=2), 3, 3, 3], "b0": [one("a", outer=2)],
        "w1": [one("b", outer=2), one("a"), 3, 3], "b1": [one("b", outer=2)],
        "w2": [5, one("b", outer=2), 3, 3],
    }  # fmt: skip
    return proto, specs, {"a": 3, "b": 4}


@case
def gated_and_channels_last() -> Case:
    g = Builder(seed=6)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 4)])
    x = g.node("Transpose", [x], perm=[0, 2, 3, 1])
    x = g.node("MatMul", [x, g.normal(4, 6)])
    x = g.node("Add", [x, g.normal(6, stem="b")])
    a, b = g.split(x, [3, 3], axis=3)
    x = g.node("Mul", [a, g.node("Sigmoid", [b])])
    proto = g.model(g.node("MatMul", [x, g.normal(3, 5)]))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a"), 3, 3, 3], "b0": [one("a")],
        "w1": [one("a"), one("b", outer=2)], "b1": [one("b", outer=2)],
        "w2": [one("b"), 5],
    }  # fmt: skip
    return proto, specs, {"a": 4, "b": 3}


@case
def transposed() -> Case:
    g = Builder(seed=7)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 4)])
    x = g.node("Relu", [g.conv_transpose(x, 4, 6, stride=2)])
    proto = g.model(g.conv(x, 6, 5))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a"), 3, 3, 3], "b0": [one("a")],
        "w1": [one("a"), one("b"), 2, 2], "b1": [one("b")],
        "w2": [5, one("b"), 3, 3],
    }  # fmt: skip
    return proto, specs, {"a": 4, "b": 6}


def _set(proto: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(value, name))


@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_narrow_network_comes_back(name, seed, criterion):
    narrow, specs, widths = CASES[name]()
    wide = plant(narrow, specs, widths, seed=seed)
    for node in wide.graph.node:  # the sizes of a split and the groups are the wide network's
        if node.op_type == "Split":
            _set(wide, node.input[1], 2 * initializer(narrow, node.input[1]))
        for entry in node.attribute:
            if name == "depthwise" and entry.name == "group" and entry.i > 1:
                entry.i *= 2
    # Reading the wide network checks that it was widened consistently.
    result = spa.prune(wide, criterion=criterion, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    for node, other in zip(narrow.graph.node, result.model.graph.node, strict=True):
        assert attribute(node, "group") == attribute(other, "group")
    for tensor in narrow.graph.initializer:
        if tensor.name in specs:
            got = initializer(result.model, tensor.name)
            assert np.array_equal(got, numpy_helper.to_array(tensor)), tensor.name


def test_three_times_as_wide():
    narrow, specs, widths = residual()
    wide = plant(narrow, specs, widths, factor=3, seed=0)
    result = spa.prune(wide, ratio=2 / 3, limits=spa.Limits(scope="local"))
    for name in specs:
        assert np.array_equal(initializer(result.model, name), initializer(narrow, name))


def test_global_scope_finds_it_too():
    """Tiny channels of all groups come before any other."""
    narrow, specs, widths = dense()
    wide = plant(narrow, specs, widths, seed=4)
    result = spa.prune(wide, ratio=0.5, limits=spa.Limits(scope="global"))
    for name in specs:
        assert np.array_equal(initializer(result.model, name), initializer(narrow, name))
