"""Narrow networks of gates, mixers, norm groups and experts, hidden in wide ones, come back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from tests.coupling.modules import linear
from tests.graphs import Builder, attribute, initializer
from tests.oracles import AxisSpec, plant
from tests.test_planted_networks import Case, one

CASES: dict[str, Case] = {}


def case(function):
    CASES[function.__name__] = function()
    return function


@case
def mixer() -> Case:
    """Maps over tokens and over channels, with affine in place of norms."""
    g = Builder(seed=1)
    x = linear(g, g.input(4, 7), 7, 6)
    for tokens in (True, False):
        y = g.node("Mul", [x, g.normal(6, stem="gain")])
        y = g.node("Add", [y, g.normal(6, stem="shift")])
        if tokens:
            y = g.node("Transpose", [y], perm=[0, 2, 1])
            y = linear(g, g.node("Relu", [linear(g, y, 4, 5)]), 5, 4)
            y = g.node("Transpose", [y], perm=[0, 2, 1])
        else:
            y = linear(g, g.node("Relu", [linear(g, y, 6, 8)]), 8, 6)
        x = g.node("Add", [x, y])
    proto = g.model(linear(g, x, 6, 5))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [7, one("width")], "b0": [one("width")],
        **{f"{stem}{i}": [one("width")] for stem in ("gain", "shift") for i in (0, 1)},
        "w1": [4, one("tokens")], "b1": [one("tokens")],
        "w2": [one("tokens"), 4],
        "w3": [one("width"), one("channels")], "b3": [one("channels")],
        "w4": [one("channels"), one("width")], "b4": [one("width")],
        "w5": [one("width"), 5],
    }  # fmt: skip
    return proto, specs, {"width": 6, "tokens": 5, "channels": 8}


@case
def gated() -> Case:
    """SwiGLU blocks on a residual stream."""
    g = Builder(seed=2)
    x = linear(g, g.input(4, 7), 7, 6, bias=False)
    for _ in range(2):
        gate, up = linear(g, x, 6, 8, bias=False), linear(g, x, 6, 8, bias=False)
        y = g.node("Mul", [g.node("Mul", [gate, g.node("Sigmoid", [gate])]), up])
        x = g.node("Add", [x, linear(g, y, 8, 6, bias=False)])
    proto = g.model(linear(g, x, 6, 5, bias=False))
    specs: dict[str, list[AxisSpec]] = {"w0": [7, one("width")], "w7": [one("width"), 5]}
    for block, symbol in enumerate(("first", "second")):
        for i in (1, 2):
            specs[f"w{3 * block + i}"] = [one("width"), one(symbol)]
        specs[f"w{3 * block + 3}"] = [one(symbol), one("width")]
    return proto, specs, {"width": 6, "first": 8, "second": 8}


@case
def squeeze_and_excitation() -> Case:
    g = Builder(seed=3)
    x = g.node("Relu", [g.conv(g.input(3, 5, 5), 3, 6)])
    s = g.node("Relu", [g.conv(g.node("GlobalAveragePool", [x]), 6, 3, 1)])
    x = g.node("Mul", [x, g.node("Sigmoid", [g.conv(s, 3, 6, 1)])])
    proto = g.model(g.conv(x, 6, 5))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [one("a"), 3, 3, 3], "b0": [one("a")],
        "w1": [one("s"), one("a"), 1, 1], "b1": [one("s")],
        "w2": [one("a"), one("s"), 1, 1], "b2": [one("a")],
        "w3": [5, one("a"), 3, 3],
    }  # fmt: skip
    return proto, specs, {"a": 6, "s": 3}


@case
def norm_groups() -> Case:
    """Whole groups of two channels, of a GroupNormalization and of one as torch writes it."""
    g = Builder(21, seed=4)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    vectors = [g.normal(8, stem="gn"), g.normal(8, stem="gn")]
    x = g.node("Relu", [g.node("GroupNormalization", [x, *vectors], num_groups=4)])
    x = g.conv(x, 8, 6)
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    x = g.node("InstanceNormalization", [
        g.reshape(x, [0, 3, -1]), g.weight(ones, "one"), g.weight(zeros, "zero"),
    ])  # fmt: skip
    x = g.node("Mul", [g.reshape(x, [0, -1, 4, 4]), g.normal(6, 1, 1, stem="gain")])
    proto = g.model(g.conv(g.node("Relu", [x]), 6, 5))
    pairs, others = one("pair", inner=2), one("other", inner=2)
    specs: dict[str, list[AxisSpec]] = {
        "w0": [pairs, 3, 3, 3], "b0": [pairs], "gn0": [pairs], "gn1": [pairs],
        "w1": [others, pairs, 3, 3], "b1": [others],
        "one0": [one("other")], "zero0": [one("other")], "gain0": [others, 1, 1],
        "w2": [5, others, 3, 3],
    }  # fmt: skip
    return proto, specs, {"pair": 4, "other": 3}


@case
def experts() -> Case:
    """Stacked experts with gates of their own: experts, hidden width and width are all planted."""
    g = Builder(seed=5)
    x = linear(g, g.input(4, 7), 7, 6, bias=False)
    gates = g.node("Sigmoid", [linear(g, x, 6, 3, bias=False, stem="router")])
    h = g.node("MatMul", [g.unsqueeze(x, [1]), g.normal(3, 6, 8, stem="up")])
    y = g.node("MatMul", [g.node("Relu", [h]), g.normal(3, 8, 6, stem="down")])
    gates = g.unsqueeze(g.node("Transpose", [gates], perm=[0, 2, 1]), [-1])
    y = g.reduce("ReduceSum", g.node("Mul", [y, gates]), [1], keepdims=0)
    proto = g.model(linear(g, g.node("Add", [x, y]), 6, 5, bias=False))
    specs: dict[str, list[AxisSpec]] = {
        "w0": [7, one("width")], "router0": [one("width"), one("expert")],
        "up0": [one("expert"), one("width"), one("hidden")],
        "down0": [one("expert"), one("hidden"), one("width")],
        "w1": [one("width"), 5],
    }  # fmt: skip
    return proto, specs, {"width": 6, "expert": 3, "hidden": 8}


def _widened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Numbers of norm groups are the wide network's."""
    for node in proto.graph.node:
        if node.op_type == "GroupNormalization":
            node.attribute[0].i *= 2
        if node.op_type == "InstanceNormalization":
            target = next(n for n in proto.graph.node if n.output[0] == node.input[0]).input[1]
            tensor = next(t for t in proto.graph.initializer if t.name == target)
            sizes = numpy_helper.to_array(tensor) * [1, 2, 1]
            tensor.CopyFrom(numpy_helper.from_array(sizes, target))
    return proto


@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_narrow_network_comes_back(name, seed, criterion):
    narrow, specs, widths = CASES[name]
    wide = _widened(plant(narrow, specs, widths, seed=seed))
    result = spa.prune(wide, criterion=criterion, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    assert sorted(group.channels for group in result.plan.groups) == sorted(
        2 * width for width in widths.values()
    )
    for node, other in zip(narrow.graph.node, result.model.graph.node, strict=True):
        assert attribute(node, "num_groups") == attribute(other, "num_groups")
    for tensor in narrow.graph.initializer:
        if tensor.name in specs:
            got = initializer(result.model, tensor.name)
            assert np.array_equal(got, numpy_helper.to_array(tensor)), tensor.name
