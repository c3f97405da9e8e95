"""Norms that treat channels apart, and norms that mix them."""

import numpy as np
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import STORAGES, Builder, attribute, initializer, node_of

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


def _vectors(g, size):
    return [g.weight(g._vector(size, v), "gn") for v in (1.0, 0.0)]


def _group_norm(opset, groups, channels=6):
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, channels)
    vectors = _vectors(g, groups if opset < 21 else channels)
    x = g.node("GroupNormalization", [x, *vectors], num_groups=groups)
    return g.model(g.conv(g.node("Relu", [x]), channels, 4))


@pytest.mark.parametrize(
    ("opset", "expected"),
    [
        (18, "3: b0.0*2 gn0.0 gn1.0 w0.0*2 w1.1*2"),
        (21, "3: b0.0*2 gn0.0*2 gn1.0*2 w0.0*2 w1.1*2"),
    ],
)
def test_whole_norm_groups_go(opset, expected):
    """The most groups leave the finest choice: three groups of two channels."""
    proto = _group_norm(opset, groups=3)
    assert described(proto) == [expected]
    pruned = prove(proto, ratio=1 / 3)
    assert attribute(node_of(pruned, "GroupNormalization"), "num_groups") == 2


@pytest.mark.parametrize("opset", [18, 21])
def test_the_same_channel_of_every_norm_group_goes_where_that_is_finer(opset):
    proto = _group_norm(opset, groups=2)
    vectors = "gn0.0*2 gn1.0*2 " if opset == 21 else ""
    assert described(proto) == [f"~3: b0.0*2 {vectors}w0.0*2 w1.1*2"]
    pruned = prove(proto, equal=False)
    assert attribute(node_of(pruned, "GroupNormalization"), "num_groups") == 2


@pytest.mark.parametrize("opset", [18, 21])
def test_a_norm_group_of_every_channel_and_one_of_all(opset):
    vectors = "gn0.0 gn1.0 "
    assert described(_group_norm(opset, 6)) == [f"6: b0.0 {vectors}w0.0 w1.1"]
    prove(_group_norm(opset, 6))
    only = vectors if opset == 21 else ""
    assert described(_group_norm(opset, 1)) == [f"~6: b0.0 {only}w0.0 w1.1"]
    prove(_group_norm(opset, 1), equal=False)


def test_two_group_norms_of_other_sizes_agree():
    """Groups of 2 and of 4 on one residual stream: what goes is whole for both."""
    g = Builder(21)
    x = g.conv(g.input(3, 4, 4), 3, 16)
    for groups in (8, 4):
        y = g.node("GroupNormalization", [x, *_vectors(g, 16)], num_groups=groups)
        x = g.node("Add", [x, g.conv(g.node("Relu", [y]), 16, 16)])
    proto = g.model(g.conv(x, 16, 4))
    (line,) = described(proto)
    assert line.startswith("4: ")
    assert "w0.0*4" in line
    prove(proto)


def _reshaped(g, x, groups, channels, *, space=(4, 4)):
    """Group norm as torch exports it: an instance norm of (N, G, everything else)."""
    x = g.reshape(x, [0, groups, -1])
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    x = g.node("InstanceNormalization", [x, g.weight(ones, "one"), g.weight(zeros, "nil")])
    x = g.reshape(x, [-1, channels, *space])
    scale, shift = (g.weight(g._vector(channels, v).reshape(-1, 1, 1), "gn") for v in (1.0, 0.0))
    return g.node("Add", [g.node("Mul", [x, scale]), shift])


def test_group_norm_as_torch_writes_it():
    proto = _around(lambda g, x: _reshaped(g, x, 3, 6))
    assert described(proto) == ["3: b0.0*2 gn0.0*2 gn1.0*2 nil0.0 one0.0 w0.0*2 w1.1*2"]
    pruned = prove(proto, ratio=1 / 3)
    assert initializer(pruned, "one0").shape == (2,)
    proto = _around(lambda g, x: _reshaped(g, x, 2, 6))
    assert described(proto) == ["~3: b0.0*2 gn0.0*2 gn1.0*2 w0.0*2 w1.1*2"]
    prove(proto, equal=False)


def test_group_norm_with_a_computed_shape():
    """The shape to go back to is taken from the tensor that was normalised."""

    def make(g, x):
        shape = g.node("Shape", [x])
        y = g.reshape(x, [0, 3, -1])
        y = g.node("InstanceNormalization", [y, *_vectors(g, 3)])
        return g.node("Reshape", [y, shape])

    proto = _around(make)
    assert described(proto) == ["3: b0.0*2 gn0.0 gn1.0 w0.0*2 w1.1*2"]
    prove(proto)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("how", ["pow", "mul", "variance of squares"])
def test_group_norm_written_out(last, groups, how):
    """Keras and JAX: (N, G, C/G, H, W), or channels last, reduced over all but N and G."""

    def make(g, x):
        shape = [0, 4, 4, groups, -1] if last else [0, groups, -1, 4, 4]
        axes = [1, 2, 4] if last else [2, 3, 4]
        x = g.node("Transpose", [x], perm=[0, 2, 3, 1]) if last else x
        x = g.reshape(x, shape)
        mean = g.reduce("ReduceMean", x, axes)
        centred = g.node("Sub", [x, mean])
        if how == "pow":
            square = g.node("Pow", [centred, g.weight(np.float32(2), "two")])
            variance = g.reduce("ReduceMean", square, axes)
        elif how == "mul":
            variance = g.reduce("ReduceMean", g.node("Mul", [centred, centred]), axes)
        else:
            squares = g.reduce("ReduceMean", g.node("Mul", [x, x]), axes)
            variance = g.node("Sub", [squares, g.node("Mul", [mean, mean])])
        root = g.node("Sqrt", [g.node("Add", [variance, g.weight(np.float32(1e-3), "eps")])])
        y = g.node("Div", [centred, root])
        y = g.reshape(y, [0, 4, 4, 6] if last else [0, 6, 4, 4])
        y = g.node("Mul", [y, g.weight(g._vector(6, 1.0).reshape(6, *(1,) * (0 if last else 2)))])
        return g.node("Transpose", [y], perm=[0, 3, 1, 2]) if last else y

    proto = _around(make)
    exact = groups == 3
    members = "3: b0.0*2 w0.0*2 w1.0*2 w2.1*2"
    assert described(proto) == [members if exact else "~" + members]
    prove(proto, equal=exact, plain=exact)


@pytest.mark.parametrize("space", [1, 2, 3])
def test_group_norm_over_any_rank(space):
    g = Builder(21)
    x = g.conv(g.input(3, *[3] * space), 3, 8, rank=space)
    x = g.node("GroupNormalization", [x, *_vectors(g, 8)], num_groups=4)
    proto = g.model(g.conv(x, 8, 4, rank=space))
    assert described(proto) == ["4: b0.0*2 gn0.0*2 gn1.0*2 w0.0*2 w1.1*2"]
    prove(proto)


def test_group_norm_of_features():
    g = Builder(21)
    x = g.gemm(g.input(7), 7, 8)
    x = g.node("GroupNormalization", [x, *_vectors(g, 8)], num_groups=4)
    proto = g.model(g.gemm(x, 8, 4))
    assert described(proto) == ["4: b0.0*2 gn0.0*2 gn1.0*2 w0.0*2 w1.1*2"]
    prove(proto, plain=False)


def test_batch_norm_that_trains():
    """It averages over the batch and the pixels, of every channel apart."""
    g = Builder(17)
    x = g.conv(g.input(3, 4, 4), 3, 6)
    vectors = [g.weight(g._vector(6, v), "bn") for v in (1.0, 0.0, 0.0)]
    vectors.append(g.weight(np.abs(g._vector(6, 1.0)), "bn"))
    x, *_ = g.node("BatchNormalization", [x, *vectors], 3, training_mode=1)
    proto = g.model(g.conv(x, 6, 4))
    assert described(proto) == ["6: b0.0 bn0.0 bn1.0 bn2.0 bn3.0 w0.0 w1.1"]
    prove(proto)


def test_instance_norm_over_a_channel_axis_turned_into_space_is_not_exact():
    g = Builder()
    x = g.node("MatMul", [g.input(4, 7), g.normal(7, 6)])  # (N, 4, 6)
    x = g.node("InstanceNormalization", [x, *_vectors(g, 4)])
    proto = g.model(g.node("MatMul", [x, g.normal(6, 5)]))
    assert described(proto) == ["~6: w0.1 w1.0"]
    prove(proto, equal=False)


@pytest.mark.parametrize("op", ["Softmax", "LayerNormalization"])
def test_rows_of_a_grid_go_exactly_past_what_mixes_columns(op):
    """Channels seen as groups x channels: a softmax or norm over the last axis leaves groups."""

    def make(g, x):
        x = g.node("Transpose", [x], perm=[0, 2, 3, 1])
        x = g.reshape(x, [0, 4, 4, 3, 2])
        inputs = [x, g.normal(2, stem="g")] if op == "LayerNormalization" else [x]
        x = g.reshape(g.node(op, inputs, axis=-1), [0, 4, 4, 6])
        return g.node("Transpose", [x], perm=[0, 3, 1, 2])

    proto = _around(make)
    assert described(proto) == ["3: b0.0*2 w0.0*2 w1.1*2"]
    prove(proto)
