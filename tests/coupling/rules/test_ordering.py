"""TopK, ArgMax, sums so far and reversals: the axis they count along may be kept, others pass."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of

OVER_PIXELS = ["8: b0.0 w0.0 w1.1"]


# --- sums so far ---------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
@pytest.mark.parametrize("attrs", [{}, {"exclusive": 1}, {"reverse": 1}])
def test_over_pixels_channels_pass(op, attrs):
    g = Builder(14 if op == "CumSum" else 26)
    x = g.node(op, [g.conv(g.input(3, 4, 4), 3, 8), g.ints(-1)], **attrs)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == OVER_PIXELS
    prove(proto)


@pytest.mark.parametrize("attrs", [{}, {"exclusive": 1}, {"reverse": 1}])
@pytest.mark.parametrize("opset", [11, 14])
def test_a_sum_so_far_of_channels_that_are_zero_is_exact(opset, attrs):
    g = Builder(opset)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    proto = g.model(g.conv(g.node("CumSum", [x, g.ints(1)], **attrs), 8, 5))
    assert described(proto) == OVER_PIXELS
    prove(proto, plain=False)


def test_a_sum_over_a_sum_so_far_is_not_exact():
    """What went held the sum of those before it, so it is not zero."""
    g = Builder(13)
    x = g.node("CumSum", [g.conv(g.input(3, 4, 4), 3, 8), g.ints(1)])
    proto = g.model(g.reduce("ReduceSum", x, [1]))
    assert described(proto) == ["~8: b0.0 w0.0"]
    prove(proto, plain=False, equal=False)


@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
def test_over_channels_that_are_not_zero_it_is_not_exact(op):
    g = Builder(26)
    x = g.node("Sigmoid", [g.conv(g.input(3, 4, 4), 3, 8)])
    proto = g.model(g.conv(g.node(op, [x, g.ints(1)]), 8, 5))
    assert described(proto) == ["~8: b0.0 w0.0 w1.1"]
    prove(proto, equal=False, plain=False)


# --- the largest ---------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [11, 24])
def test_the_largest_pixels_pass_channels(opset):
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    values, places = g.node("TopK", [x, g.ints([2])], 2, axis=-1, largest=0)
    picked = g.node("GatherElements", [x, places], axis=3)
    proto = g.model(g.conv(g.node("Add", [values, picked]), 8, 5))
    assert described(proto) == OVER_PIXELS
    prove(proto)


def test_the_values_of_the_largest_channels():
    """A mask by the k-th largest value; no fewer than k channels may be left."""
    g = Builder(13)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    score = g.node("GlobalAveragePool", [x])
    largest = g.node("TopK", [score, g.ints([3])], 2, axis=1)[0]
    last = g.slice(largest, 2, 3)
    mask = g.node("Cast", [g.node("Not", [g.node("Less", [score, last])])], to=TensorProto.FLOAT)
    proto = g.model(g.conv(g.node("Mul", [x, mask]), 8, 5))
    assert described(proto) == ["~8: b0.0 w0.0 w1.1"]
    with pytest.raises(spa.InfeasibleTarget, match="needed by an operator 3") as caught:
        spa.prune(proto, ratio=0.8)
    assert caught.value.reachable == 5 / 8
    pruned = prove(proto, equal=False, plain=False, ratio=5 / 8)
    assert initializer(pruned, "w0").shape[0] == 3


def test_channels_of_two_branches_share_what_must_be_left():
    g = Builder(13)
    x = g.input(3, 4, 4)
    parts = [g.conv(x, 3, 8), g.conv(x, 3, 4)]
    score = g.node("GlobalAveragePool", [g.node("Concat", parts, axis=1)])
    largest = g.node("TopK", [score, g.ints([6])], 2, axis=1)[0]
    proto = g.model(g.conv(largest, 6, 5))
    groups = spa.find_groups(spa.load(proto))
    assert [group.at_least for group in groups] == [4, 2]
    pruned = prove(proto, equal=False, plain=False, ratio=0.5)
    assert initializer(pruned, "w0").shape[0] + initializer(pruned, "w1").shape[0] == 6


def test_kept_channels_count_among_those_that_are_left():
    g = Builder(13)
    x = g.input(3, 4, 4)
    score = g.node("GlobalAveragePool", [g.node("Concat", [g.conv(x, 3, 8), x], axis=1)])
    largest = g.node("TopK", [score, g.ints([5])], 2, axis=1)[0]
    proto = g.model(g.conv(largest, 5, 4))
    assert [group.at_least for group in spa.find_groups(spa.load(proto))] == [2]
    pruned = prove(proto, equal=False, plain=False, ratio=0.75)
    assert initializer(pruned, "w0").shape[0] == 2


def test_places_of_the_largest_channels_keep_them():
    """A mask that is scattered by channel number: the numbers would shift."""
    g = Builder(13, batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    score = g.reshape(g.node("GlobalAveragePool", [x]), [0, 8])
    places = g.node("TopK", [score, g.ints([3])], 2, axis=1)[1]
    zeros, ones = (g.weight(v, "m") for v in (np.zeros((2, 8), "f"), np.ones((2, 3), "f")))
    mask = g.node("ScatterElements", [zeros, places, ones], axis=1)
    y = g.conv(g.node("Mul", [x, g.unsqueeze(mask, [2, 3])]), 8, 6)
    proto = g.model(g.conv(g.node("Relu", [y]), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    assert "where along this axis" in kept(proto)["w0.0"]
    prove(proto)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_number_of_the_largest_channel_keeps_them(op, keepdims):
    g = Builder(13)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    best = g.node("Cast", [g.node(op, [x], axis=1, keepdims=keepdims)], to=TensorProto.FLOAT)
    y = g.conv(best if keepdims else g.unsqueeze(best, [1]), 1, 6)
    proto = g.model(g.conv(g.node("Relu", [y]), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    assert "where along this axis" in kept(proto)["w0.0"]
    prove(proto)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_number_of_the_largest_pixel_passes_channels(keepdims):
    g = Builder(13)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    best = g.node("Cast", [g.node("ArgMax", [x], axis=-1, keepdims=keepdims)], to=TensorProto.FLOAT)
    proto = g.model(g.conv(best if keepdims else g.unsqueeze(best, [3]), 8, 5))
    assert described(proto) == OVER_PIXELS
    prove(proto, plain=False)


# --- the reverse ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, "N"])
def test_channels_turned_round_whole(batch):
    """The lengths are computed where the batch is dynamic."""
    g = Builder(13, batch=batch)
    source = g.input(3, 4, 4)
    x = g.conv(source, 3, 8)
    size = g.node("Slice", [g.node("Shape", [source]), g.ints([0]), g.ints([1])])
    lengths = g.ints([8, 8]) if batch == 2 else g.node("Expand", [g.ints([8]), size])
    y = g.node("ReverseSequence", [x, lengths], batch_axis=0, time_axis=1)
    proto = g.model(g.conv(g.node("Add", [x, y]), 8, 5))
    assert described(proto) == ["4: b0.0*2 w0.0*2 w1.1*2"]
    pruned = prove(proto)
    assert node_of(pruned, "Slice", -1).output == node_of(proto, "ReverseSequence").output


@pytest.mark.parametrize("lengths", [[8, 7], [3, 3]])
def test_channels_turned_round_in_part_are_kept(lengths):
    g = Builder(13, batch=2)
    x = g.node("ReverseSequence", [g.conv(g.input(3, 4, 4), 3, 8), g.ints(lengths)],
               batch_axis=0, time_axis=1)  # fmt: skip
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == []
    assert "turned round" in kept(proto)["w0.0"]


@pytest.mark.parametrize("lengths", [[4, 4], [2, 3]])
def test_time_turned_round_passes_channels(lengths):
    g = Builder(13, batch=2)
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 8)], perm=[2, 0, 1, 3])
    x = g.node("ReverseSequence", [x, g.ints(lengths)])
    proto = g.model(g.conv(g.node("Transpose", [x], perm=[1, 2, 0, 3]), 8, 5))
    assert described(proto) == OVER_PIXELS
    prove(proto)
