"""Slice, Split and Gather: along the chosen axis, the labels are selected."""

from __future__ import annotations

import onnx
import pytest

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_chunk_is_followed(opset):
    """Torch-Pruning#147, microsoft/nni#5416: a chunk whose halves go different ways."""
    g = Builder(opset)
    a, b = g.split(g.conv(g.input(3, 6, 6), 3, 12), [6, 6])
    proto = g.model(g.conv(a, 6, 4), g.conv(b, 6, 5))
    assert described(proto) == ["6: b0.0 w0.0 w1.1", "6: b0.0 w0.0 w2.1"]
    prove(proto)


def test_a_gate_ties_the_halves():
    g = Builder()
    a, b = g.split(g.conv(g.input(3, 6, 6), 3, 12), [6, 6])
    x = g.node("Mul", [a, g.node("Sigmoid", [b])])
    proto = g.model(g.conv(x, 6, 4))
    assert described(proto) == ["6: b0.0*2 w0.0*2 w1.1"]
    prove(proto)


def test_split_into_single_channels_keeps_them():
    g = Builder()
    parts = g.split(g.conv(g.input(3, 6, 6), 3, 3), [1, 1, 1])
    proto = g.model(g.conv(g.node("Concat", parts, axis=1), 3, 4))
    assert described(proto) == []
    assert "empty a tensor" in kept(proto)["w0.0"]


@pytest.mark.parametrize("opset", [9, 10, 13])
@pytest.mark.parametrize(("start", "end"), [(0, 8), (4, 12), (-8, 12), (2, -2), (4, 2**31 - 1)])
def test_slice(opset, start, end):
    g = Builder(opset)
    x = g.conv(g.input(3, 6, 6), 3, 12)
    taken = len(range(12)[start:end])
    proto = g.model(g.conv(g.slice(x, start, end), taken, 4))
    assert f"{taken}: b0.0 w0.0 w1.1" in described(proto)
    prove(proto)


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, 12, 2), (11, -13, -1), (10, 1, -3), (1, 12, 5)]
)
def test_slice_with_a_step(start, end, step):
    g = Builder(13)
    x = g.conv(g.input(3, 6, 6), 3, 12)
    end_in_python = None if end == -13 else end
    taken = len(range(12)[start:end_in_python:step])
    proto = g.model(g.conv(g.slice(x, start, end, step=step), taken, 4), g.conv(x, 12, 4))
    assert f"{taken}: b0.0 w0.0 w1.1 w2.1" in described(proto)
    prove(proto)


def test_slice_of_space_leaves_channels_alone():
    g = Builder()
    x = g.slice(g.conv(g.input(3, 6, 6), 3, 8), 1, 5, axis=2)
    proto = g.model(g.conv(x, 8, 4))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0],
                                     [3, 1, 4, 0, 5, 2, 7, 6], [0, 2, 4, 6]])  # fmt: skip
def test_gather_of_channels(indices):
    g = Builder()
    x = g.node("Gather", [g.conv(g.input(3, 6, 6), 3, 8), g.ints(indices)], axis=1)
    proto = g.model(g.conv(x, len(indices), 4))
    assert f"{len(indices)}: b0.0 w0.0 w1.1" in described(proto)
    prove(proto)


def test_gather_with_repeats_reads_a_channel_twice():
    g = Builder()
    x = g.node("Gather", [g.conv(g.input(3, 6, 6), 3, 4), g.ints([0, 1, 2, 3, 0, 1, 2, 3])], axis=1)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["4: b0.0 w0.0 w1.1*2"]
    prove(proto)


def test_gather_of_one_channel_keeps_it():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8)
    one = g.unsqueeze(g.node("Gather", [x, g.ints(2)], axis=1), [1])
    proto = g.model(g.conv(x, 8, 4), one)
    assert described(proto) == ["7: b0.0 w0.0 w1.1"]
    assert kept(proto)["w0.0"].startswith("1 of 8")
    prove(proto)


def test_computed_indices_keep_the_axis():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8)
    pooled = g.node("GlobalAveragePool", [g.conv(x, 8, 8)])
    order = g.node("ArgMax", [g.reshape(pooled, [-1, 8])], axis=0, keepdims=0)
    proto = g.model(g.conv(g.node("Gather", [x, order], axis=1), 8, 4))
    assert described(proto) == []
    assert "computed while the model runs" in kept(proto)["w0.0"]


def test_one_entry_gathered_over_and_over_goes_with_what_it_meets():
    g = Builder()
    x = g.input(3, 6, 6)
    repeated = g.node("Gather", [g.conv(x, 3, 1), g.ints([0] * 8)], axis=1)
    proto = g.model(g.conv(g.node("Add", [g.conv(x, 3, 8), repeated]), 8, 5))
    assert described(proto) == ["8: b1.0 w1.0 w2.1"]
    pruned = prove(proto)
    assert initializer(pruned, node_of(pruned, "Gather").input[1]).tolist() == [0] * 4


def test_a_vector_that_is_read_in_parts_is_one_vector():
    """Vectors that are shared are mostly so by coincidence, but not one that is cut up."""
    g = Builder()
    b = g.normal(24, stem="b")
    x = g.input(3, 6, 6)
    parts = [g.slice(b, start, start + 8, axis=0) for start in (0, 8, 16)]
    for part, cin in zip(parts, (3, 8, 8), strict=True):
        x = g.node("Relu", [g.node("Conv", [x, g.normal(8, cin, 1, 1), part])])
    proto = g.model(g.conv(x, 8, 5))
    assert len(described(proto)) == 3
    assert all(" b0.0" in line for line in described(proto))
    assert spa.measure_cost(spa.load(proto)).params == 24 + 8 * 3 + 2 * 64 + 9 * 8 * 5 + 5
    pruned = prove(proto, plain=False)
    assert initializer(pruned, "b0").shape == (12,)


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("how", ["slice", "split"])
def test_a_vector_that_is_read_whole_and_in_part(opset, how):
    """The two reads lose different entries, so each has a tensor of its own."""
    g = Builder(opset)
    b = g.normal(8, stem="b")
    x = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), g.normal(8, 3, 1, 1), b])])
    part = g.slice(b, 2, 6, axis=0) if how == "slice" else g.split(b, [4, 4], axis=0)[1]
    x = g.node("Relu", [g.node("Conv", [x, g.normal(4, 8, 1, 1), part])])
    proto = g.model(g.conv(x, 4, 5))
    prove(proto, plain=False, seeds=(0, 1, 2, 3))


def test_a_bias_cut_at_a_bound_computed_from_a_shape():
    """As torch's exporter cuts the packed bias of cross attention; the bound stays what it was."""
    g = Builder()
    x = g.input(5, 8)
    size = g.node("Gather", [g.node("Shape", [x]), g.ints([-1])], axis=0)
    bias = g.node("Slice", [g.normal(16, stem="b"), g.ints([0]), size, g.ints([0])])
    x = g.node("Add", [g.node("MatMul", [x, g.normal(8, 8, stem="up")]), bias])
    proto = g.model(g.node("MatMul", [g.node("Relu", [x]), g.normal(8, 4, stem="down")]))
    assert described(proto) == ["8: b0.0 down0.0 up0.1"]
    prove(proto)


def _merged_with_the_batch(select) -> onnx.ModelProto:
    """HaloNet: batch and heads in one axis, which a selection then runs along.

    x: (N, 8, 6, 6)   merged: (N*2, 36, 4), where a window keeps the 4
    """
    g = Builder(17)
    x = g.conv(g.input(3, 6, 6), 3, 8)
    merged = g.node("Transpose", [g.reshape(x, [-1, 4, 36])], perm=[0, 2, 1])
    merged = g.node("MaxPool", [select(g, merged)], kernel_shape=[3], pads=[1, 1])
    merged = g.node("Transpose", [merged], perm=[0, 2, 1])
    return g.model(g.conv(g.reshape(merged, [-1, 8, 6, 6]), 8, 5))


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, 2**63 - 1, 1), (-1, -(2**63), -1), (0, 2**31 - 1, 1)]
)
def test_a_slice_that_takes_all_takes_all_at_any_batch(start, end, step):
    """A bound that was written for one batch size cut larger ones short."""
    proto = _merged_with_the_batch(lambda g, x: g.slice(x, start, end, 0, step))
    if step < 0:  # batch and heads are turned round together, which is undone here
        proto = _merged_with_the_batch(
            lambda g, x: g.slice(g.slice(x, start, end, 0, step), start, end, 0, step)
        )
    assert described(proto) == ["2: b0.0*4 w0.0*4 w1.1*4"]
    prove(proto)


def _rolled(g: Builder, x: str) -> str:
    """Takes some entries by number, and puts them back."""
    return g.node("Concat", [g.slice(x, 0, 2, 0), g.slice(x, 2, 2**31 - 1, 0)], axis=0)


def _parted(g: Builder, x: str) -> str:
    return g.node("Concat", g.node("Split", [x], 2, axis=0), axis=0)


def _picked(g: Builder, x: str) -> str:
    first = g.node("Gather", [x, g.ints([0, 1])], axis=0)
    return g.node("Concat", [first, g.slice(x, 2, 2**31 - 1, 0)], axis=0)


@pytest.mark.parametrize("select", [_rolled, _parted, _picked])
def test_a_selection_by_number_along_an_axis_that_varies_keeps_it(select):
    proto = _merged_with_the_batch(select)
    assert described(proto) == []
