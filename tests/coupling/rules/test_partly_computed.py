"""Bounds, pads and repeats of which some are fixed and others follow an input's size."""

import pytest
from onnx import TensorProto, helper

import spa
from tests.graphs import Builder
from tests.oracles import assert_equals_zeroed

SIZES = [(1, 4), (2, 16), (3, 7), (2, 33)]


def _start():
    """x: (N, T, 6), as wide as a MatMul makes it, and its length as a list of one number."""
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", 6]))
    h = g.node("Relu", [g.node("MatMul", ["x", g.normal(6, 12)])])
    length = g.slice(g.node("Shape", ["x"]), 1, 2, axis=0)
    return g, h, length


def _half(g, length):
    return g.node("Div", [length, g.ints([2])])


def _slice(g, h, length):
    start = g.node("Concat", [_half(g, length), g.ints([3])], axis=0)
    end = g.node("Concat", [length, g.ints([9])], axis=0)
    # One constant serves as axes and as steps.
    return g.node("Slice", [h, start, end, g.ints([1, 2]), g.ints([1, 1])]), 6


def _slice_of_one_constant(g, h, length):
    """The axes are the starts, too, which shrink."""
    both = g.ints([1, 2])
    return g.node("Slice", [h, both, g.node("Concat", [length, g.ints([9])], axis=0), both]), 7


def _pad(g, h, length):
    zero, more = g.ints([0]), g.ints([2])
    pads = g.node("Concat", [zero, _half(g, length), more, zero, zero, zero], axis=0)
    return g.node("Pad", [h, pads]), 14


def _tile(g, h, length):
    repeats = g.node("Concat", [g.ints([1]), _half(g, length), g.ints([2])], axis=0)
    return g.node("Tile", [h, repeats]), 24


@pytest.mark.parametrize("make", [_slice, _slice_of_one_constant, _pad, _tile])
def test_the_fixed_part_shrinks_and_the_other_follows_the_input(make):
    g, h, length = _start()
    y, width = make(g, h, length)
    proto = g.model(g.node("MatMul", [y, g.normal(width, 4)]))
    result = spa.prune(proto, ratio=0.4)
    assert result.plan.groups[0].removed
    for batch, length in SIZES:
        plan = result.plan.to_json()
        assert_equals_zeroed(proto, result.model, plan, batches=[batch], free=length)


@pytest.mark.parametrize("op", ["Shape", "Size"])
def test_a_number_made_of_channels_and_a_free_size_stays_the_dense_model_s(op):
    """Entries are divided by how many there are, before and after some of them went."""
    g, h, _ = _start()
    count = g.node(op, [h])
    if op == "Shape":
        count = g.node("ReduceProd", [count], keepdims=0)
    y = g.node("Div", [h, g.node("Cast", [count], to=TensorProto.FLOAT)])
    proto = g.model(g.node("MatMul", [y, g.normal(12, 4)]))
    result = spa.prune(proto, ratio=0.4)
    assert result.plan.groups[0].removed
    for batch, length in SIZES:
        plan = result.plan.to_json()
        assert_equals_zeroed(proto, result.model, plan, batches=[batch], free=length)
