"""Reshape, Flatten, Squeeze, Unsqueeze, Transpose: NumPy moves the labels."""

from __future__ import annotations

import numpy as np
import pytest

from spa.coupling.labels import blocks, reshape_layer
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((2, 8, 3, 3), (2, 72), [((0,), (0,)), ((1, 2, 3), (1,))]),
        ((2, 8), (2, 2, 4), [((0,), (0,)), ((1,), (1, 2))]),
        ((6, 4), (3, 8), [((0, 1), (0, 1))]),
        ((2, 1, 3), (2, 3), [((0,), (0,)), ((1, 2), (1,))]),
        ((4,), (2, 2, 1), [((0,), (0, 1)), ((), (2,))]),
    ],
)
def test_shapes_are_cut_into_blocks(old, new, expected):
    assert blocks(old, new) == expected


def test_a_layer_is_expanded_over_its_block_alone():
    layer = np.arange(1, 5).reshape(1, 4, 1, 1)
    flat = reshape_layer(layer, (2, 4, 3, 5), (2, 60))
    assert flat.tolist() == [np.repeat([1, 2, 3, 4], 15).tolist()]
    back = reshape_layer(flat, (2, 60), (2, 4, 3, 5))
    assert back.shape == (1, 4, 1, 1)


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("how", ["flatten", "reshape", "reshape_auto"])
@pytest.mark.parametrize("opset", [9, 13, 20])
def test_flatten_into_a_linear_layer(opset, how, trans):
    """One channel is H*W columns of the head, whatever spells the flatten."""
    g = Builder(opset)
    x = g.conv(g.input(3, 3, 3), 3, 6)
    if how == "flatten":
        x = g.node("Flatten", [x], axis=1)
    else:
        x = g.reshape(x, [-1, 54] if how == "reshape" else [0, -1])
    proto = g.model(g.gemm(x, 54, 4, trans=trans))
    assert described(proto) == [f"6: b0.0 w0.0 w1.{1 if trans else 0}*9"]
    prove(proto)


@pytest.mark.parametrize("groups", [2, 3])
def test_channel_shuffle(groups):
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 12)
    x = g.reshape(x, [0, groups, 12 // groups, 4, 4])
    x = g.reshape(g.node("Transpose", [x], perm=[0, 2, 1, 3, 4]), [0, 12, 4, 4])
    proto = g.model(g.conv(x, 12, 5))
    # The finer of the two ways that keep the tensor between rectangular.
    width = 12 // groups if 12 // groups >= groups else groups
    assert described(proto) == [
        f"{width}: b0.0*{12 // width} w0.0*{12 // width} w1.1*{12 // width}"
    ]
    prove(proto)


@pytest.mark.parametrize("opset", [11, 13])
def test_squeeze_and_unsqueeze(opset):
    g = Builder(opset)
    x = g.node("GlobalAveragePool", [g.conv(g.input(3, 4, 4), 3, 6)])
    x = g.unsqueeze(g.squeeze(x, [2, 3]), [2])
    proto = g.model(g.gemm(g.squeeze(x, [-1]), 6, 4))
    assert described(proto) == ["6: b0.0 w0.0 w1.1"]
    prove(proto)


def test_squeeze_without_axes():
    g = Builder(batch=2)
    x = g.node("Squeeze", [g.node("GlobalAveragePool", [g.conv(g.input(3, 4, 4), 3, 6)])])
    proto = g.model(g.gemm(x, 6, 4))
    assert described(proto) == ["6: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("perm", [[0, 2, 3, 1], [0, 3, 2, 1]])
def test_nhwc_sections(perm):
    g = Builder()
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 6)], perm=perm)
    x = g.node("Add", [g.node("MatMul", [x, g.normal(6, 8)]), g.normal(8, stem="b")])
    back = np.argsort(perm).tolist()
    proto = g.model(g.conv(g.node("Transpose", [x], perm=back), 8, 5))
    assert described(proto) == ["6: b0.0 w0.0 w1.0", "8: b1.0 w1.1 w2.1"]
    prove(proto)


def test_channels_that_become_a_spatial_axis_are_kept():
    """A window reaches over them there."""
    g = Builder(batch=2)
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 6)], perm=[0, 2, 1, 3])
    proto = g.model(g.conv(x, 4, 5))
    assert described(proto) == []
    assert "window" in kept(proto)["w0.0"]


def test_channels_merged_with_the_batch():
    g = Builder()
    x = g.reshape(g.conv(g.input(3, 4, 4), 3, 6), [-1, 1, 4, 4])
    x = g.reshape(g.node("Relu", [x]), [-1, 6, 4, 4])
    proto = g.model(g.conv(x, 6, 5))
    assert described(proto) == ["6: b0.0 w0.0 w1.1"]
    prove(proto, plain=False)


def test_a_target_with_two_dynamic_sizes_keeps_what_it_takes():
    """Neither a 0 nor the one -1 can say both sizes once the channels change."""
    g = Builder()
    source = g.input("T", 6)
    y = g.node("MatMul", [source, g.normal(6, 8)])
    sizes = g.node("Shape", [y])
    flipped = g.node("Gather", [sizes, g.ints([1, 0])], axis=0)
    target = g.node("Concat", [flipped, g.ints([2, 4])], axis=0)
    z = g.node("Reshape", [g.node("Transpose", [y], perm=[1, 0, 2]), target])
    proto = g.model(z)
    assert described(proto) == []


def test_a_minus_one_beside_a_dynamic_size_makes_up_for_what_goes():
    """Heads merged with the batch, as torch exports attention at any sequence length."""
    g = Builder()
    y = g.node("Transpose", [g.node("MatMul", [g.input("T", 6), g.normal(6, 8)])], perm=[0, 2, 1])
    sizes = g.node("Shape", [y])
    length = g.node("Slice", [sizes, g.ints([2]), g.ints([3])])
    merged = g.node("Reshape", [y, g.node("Concat", [g.ints([-1]), length], axis=0)])
    z = g.node("Reshape", [g.node("Relu", [merged]), sizes])
    proto = g.model(g.node("MatMul", [g.node("Transpose", [z], perm=[0, 2, 1]), g.normal(8, 5)]))
    assert described(proto) == ["8: w0.1 w1.0"]
    prove(proto, plain=False)


def test_one_axis_as_a_scalar():
    """As torch's exporter writes it where it shares keys among queries."""
    g = Builder()
    x = g.node("Unsqueeze", [g.conv(g.input(3, 6, 6), 3, 8), g.ints(2)])
    proto = g.model(g.conv(g.squeeze(x, [2]), 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)
