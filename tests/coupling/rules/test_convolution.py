"""Conv and ConvTranspose: plain, grouped, depthwise, over opset, bias, group and rank."""

import numpy as np
import pytest

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, attribute, from_text, initializer, node_of

OPSETS = (7, 9, 11, 13, 17, 20, 22)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("bias", [False, True])
def test_output_channels_go_with_the_next_weights_inputs(opset, bias):
    g = Builder(opset)
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8, bias=bias)])
    proto = g.model(g.conv(x, 8, 5, bias=bias))
    assert described(proto) == [f"8:{' b0.0' if bias else ''} w0.0 w1.1"]
    assert kept(proto)["w0.1"].startswith("3 of 3")
    assert kept(proto)["w1.0"] == "5 of 5: it is an output of the model"
    pruned = prove(proto)
    assert initializer(pruned, "w0").shape == (4, 3, 3, 3)
    assert initializer(pruned, "w1").shape == (5, 4, 3, 3)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_spatial_rank(rank):
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(*[3, *[4] * rank]), 3, 8, rank=rank)])
    proto = g.model(g.conv(x, 8, 5, rank=rank))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("group", [2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_a_grouped_convolution_loses_the_same_index_in_every_group(group, bias):
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8, bias=False)])
    x = g.node("Relu", [g.conv(x, 8, 16, group=group, bias=bias)])
    proto = g.model(g.conv(x, 16, 5, bias=False))
    per_in, per_out = 8 // group, 16 // group
    b = f" b0.0*{group}" if bias else ""
    assert described(proto) == sorted(
        [f"{per_in}: w0.0*{group} w1.1", f"{per_out}:{b} w1.0*{group} w2.1*{group}"]
    )
    pruned = prove(proto)
    assert attribute(node_of(pruned, "Conv", 1), "group") == group
    assert initializer(pruned, "w1").shape == (8, per_in // 2, 3, 3)


def test_whole_groups_go_where_one_index_per_group_is_all_there_is():
    """Torch-Pruning 126: outputs twice the groups, one input channel in each."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 4)])
    x = g.node("Relu", [g.conv(x, 4, 8, group=4)])
    proto = g.model(g.conv(x, 8, 5))
    # Either the same of the two outputs of every group, or whole groups: four are more than two.
    assert described(proto) == ["4: b0.0 b1.0*2 w0.0 w1.0*2 w2.1*2"]
    pruned = prove(proto)
    assert attribute(node_of(pruned, "Conv", 1), "group") == 2
    assert initializer(pruned, "w1").shape == (4, 1, 3, 3)


@pytest.mark.parametrize("bias", [False, True])
def test_a_depthwise_convolution_passes_its_channels(bias):
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8, bias=False)])
    x = g.conv(x, 8, 8, group=8, bias=bias)
    proto = g.model(g.conv(x, 8, 5, bias=False))
    assert described(proto) == [f"8:{' b0.0' if bias else ''} w0.0 w1.0 w2.1"]
    pruned = prove(proto)
    assert attribute(node_of(pruned, "Conv", 1), "group") == 4


def test_a_convolution_with_one_output_is_not_taken_for_depthwise():
    """Torch-Pruning 179: with one input and one output channel, group 1 says nothing."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(1, 6, 6), 1, 8)])
    y = g.node("Sigmoid", [g.conv(x, 8, 1)])
    z = g.conv(y, 1, 6)
    proto = g.model(g.conv(g.node("Relu", [z]), 6, 5))
    assert described(proto) == ["6: b2.0 w2.0 w3.1", "8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_as_many_groups_as_outputs_is_not_yet_depthwise():
    """group = outputs = 4 with 8 inputs: two input channels per group."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8)])
    proto = g.model(g.conv(g.node("Relu", [g.conv(x, 8, 4, group=4)]), 4, 5))
    assert described(proto) == ["4: b0.0*2 b1.0 w0.0*2 w1.0 w2.1"]
    prove(proto)


def test_a_depthwise_convolution_on_the_input_is_kept():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 3, group=3)
    proto = g.model(g.conv(g.node("Relu", [g.conv(x, 3, 8, 1)]), 8, 5, 1))
    assert described(proto) == ["8: b1.0 w1.0 w2.1"]
    prove(proto)


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_conv_transpose(group, bias):
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8, bias=False)])
    x = g.node("Relu", [g.conv_transpose(x, 8, 16, group=group, stride=2, bias=bias)])
    proto = g.model(g.conv(x, 16, 5, bias=False))
    times = "" if group == 1 else f"*{group}"
    b = f" b0.0{times}" if bias else ""
    inner = f"{8 // group}: w0.0{times} w1.0{times}"
    outer = f"{16 // group}:{b} w1.1 w2.1{times}"
    assert described(proto) == sorted([inner, outer])
    pruned = prove(proto)
    assert initializer(pruned, "w1").shape == (4, 16 // group // 2, 2, 2)


def test_a_depthwise_conv_transpose_loses_whole_groups():
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8)])
    x = g.conv_transpose(x, 8, 8, group=8, stride=2)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 b1.0 w0.0 w1.0 w2.1"]
    pruned = prove(proto)
    assert attribute(node_of(pruned, "ConvTranspose"), "group") == 4


def test_tied_weights_are_cut_once():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      b = Conv<pads=[1,1,1,1]>(a, W)
      c = Relu(b)
      d = Conv<pads=[1,1,1,1]>(c, W)
      y = Conv(d, B)
    }"""
    proto = from_text(text, {"A": (8, 3, 3, 3), "W": (8, 8, 3, 3), "B": (5, 8, 1, 1)})
    # The output of the first use is the input of the second.
    assert described(proto) == ["8: A.0 B.1 W.0 W.1"]
    pruned = prove(proto, plain=False)
    assert sum(t.name.startswith("W") for t in pruned.graph.initializer) == 1


def test_a_convolution_over_former_channels_keeps_them():
    """The output channels of one Conv are a spatial axis of the next (a mixer)."""
    text = """g (float[N,3,6,6] x) => (float[N,4,8,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      t = Transpose<perm=[0,2,1,3]>(a)
      y = Conv<pads=[1,1,1,1]>(t, B)
    }"""
    proto = from_text(text, {"A": (8, 3, 3, 3), "B": (4, 6, 3, 3)})
    assert described(proto) == []
    assert "a window reaches over this axis" in kept(proto)["A.0"]
    with pytest.raises(spa.InfeasibleTarget) as info:
        spa.prune(proto, rf=1.5)
    assert info.value.reachable == 1.0


@pytest.mark.parametrize("mode", ["reshape", "transpose", "identity", "cast"])
def test_weights_behind_movements_are_cut_where_they_lie(mode):
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8, bias=False)])
    if mode == "reshape":
        w = g.reshape(g.normal(6, 8), [6, 8, 1, 1])
    elif mode == "transpose":
        w = g.node("Transpose", [g.normal(1, 1, 8, 6)], perm=[3, 2, 0, 1])
    elif mode == "identity":
        w = g.normal(6, 8, 1, 1, storage="identity")
    else:
        w = g.node("Cast", [g.weight(g.rng.standard_normal((6, 8, 1, 1)), "w")], to=1)
    x = g.node("Relu", [g.node("Conv", [x, w])])
    proto = g.model(g.conv(x, 6, 5, bias=False))
    out_axis, in_axis = (3, 2) if mode == "transpose" else (0, 1)
    assert described(proto) == [f"6: w1.{out_axis} w2.1", f"8: w0.0 w1.{in_axis}"]
    prove(proto, plain=False)


def test_a_computed_weight_is_followed_to_its_factor():
    """A weight that is multiplied by a scale in the graph."""
    g = Builder()
    scale = g.weight(g._vector(8, 1.0).reshape(8, 1, 1, 1), "s")
    w = g.node("Mul", [g.normal(8, 3, 3, 3), scale])
    x = g.node("Relu", [g.node("Conv", [g.input(3, 6, 6), w])])
    proto = g.model(g.conv(x, 8, 5, bias=False))
    assert described(proto) == ["8: s0.0 w0.0 w1.1"]
    prove(proto, plain=False)


def test_batch_axis_of_a_fixed_batch_is_never_cut():
    g = Builder(batch=8)
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8)])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_tiny_channels_go_first():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv(x, A)
      r = Relu(a)
      y = Conv(r, B)
    }"""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((8, 3, 1, 1), (5, 8, 1, 1)))
    a[[1, 4, 6]] *= 1e-3
    b[:, [1, 4, 6]] *= 1e-3
    result = spa.prune(
        from_text(text, {"A": a, "B": b}), ratio=3 / 8, limits=spa.Limits(scope="local")
    )
    assert result.plan.groups[0].removed == (1, 4, 6)
