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


@pytest.mark.parametrize("transposed", [False, True])
def test_a_window_of_one_leaves_channels_that_became_space_free(transposed):
    """A gMLP's or ResMLP's map over tokens, written as Conv with a kernel of 1."""
    g = Builder()
    x = g.node("MatMul", [g.input(4, 7), g.normal(7, 6)])  # (N, tokens, channels)
    op = "ConvTranspose" if transposed else "Conv"
    y = g.node(op, [x, g.normal(4, 4, 1, stem="t"), g.normal(4, stem="c")])
    proto = g.model(g.node("MatMul", [g.node("Mul", [x, y]), g.normal(6, 5)]))
    assert described(proto) == ["6: w0.1 w1.0"]
    assert "another operand" in kept(proto)["c0.0"]
    prove(proto)


@pytest.mark.parametrize(
    "attrs", [{"kernel": 3, "pads": [1, 1]}, {"strides": [2]}, {"pads": [1, 1]}, {"kernel": 2}]
)
def test_any_other_window_keeps_them(attrs):
    g = Builder()
    x = g.node("MatMul", [g.input(4, 7), g.normal(7, 6)])
    kernel = attrs.pop("kernel", 1)
    y = g.node("Conv", [x, g.normal(5, 4, kernel, stem="t")], **attrs)
    proto = g.model(y)
    assert described(proto) == []
    assert "a window reaches over this axis" in kept(proto)["w0.1"]


def test_a_window_over_all_of_an_axis_is_a_contraction():
    """Text classification: an embedding's width becomes an axis that each kernel covers."""
    g = Builder()
    x = g.node("MatMul", [g.input(9, 7), g.normal(7, 6, stem="e")])
    x = g.unsqueeze(x, [1])  # (N, 1, words, width)
    parts = []
    for k in (2, 3):
        w, b = g.normal(8, 1, k, 6), g.normal(8, stem="b")
        y = g.node("Relu", [g.node("Conv", [x, w, b], kernel_shape=[k, 6])])
        parts.append(g.squeeze(g.node("MaxPool", [y], kernel_shape=[10 - k, 1]), [2, 3]))
    proto = g.model(g.gemm(g.node("Concat", parts, axis=1), 16, 5))
    assert described(proto) == ["6: e0.1 w0.3 w1.3", "8: b0.0 w0.0 w2.1", "8: b1.0 w1.0 w2.1"]
    pruned = prove(proto)
    assert initializer(pruned, "w0").shape == (4, 1, 2, 3)
    assert attribute(node_of(pruned, "Conv"), "kernel_shape") == [2, 3]


def test_a_depthwise_window_over_all_sensors():
    """EEG: sensors are an axis of the input to a kernel of (sensors, 1), here sixfold by a map."""
    g = Builder()
    x = g.unsqueeze(g.node("MatMul", [g.normal(6, 4, stem="m"), g.input(4, 9)]), [1])
    x = g.node("Conv", [x, g.normal(4, 1, 1, 3)], pads=[0, 1, 0, 1])  # along time alone
    x = g.node("Conv", [x, g.normal(8, 1, 6, 1)], group=4)
    proto = g.model(g.conv(g.node("Elu", [x]), 8, 5, 1))
    assert "6: m0.0 w1.2" in described(proto)
    prove(proto)


@pytest.mark.parametrize("attrs", [{"pads": [0, 1, 0, 1]}, {"auto_pad": "SAME_UPPER"}])
def test_a_padded_window_covers_nothing(attrs):
    g = Builder()
    x = g.unsqueeze(g.node("MatMul", [g.input(9, 7), g.normal(7, 3, stem="e")]), [1])
    y = g.node("Conv", [x, g.normal(8, 1, 1, 3)], **attrs)
    proto = g.model(g.conv(g.node("Relu", [y]), 8, 5, 1))
    assert described(proto) == ["8: w0.0 w1.1"]
    assert "a window reaches over this axis" in kept(proto)["e0.1"]
    prove(proto)


def _mixed_kernels(act: str, group: int = 1):
    """CondConv: one kernel per image, mixed from a few by a router; x: (1, 4, 5, 5)."""
    g = Builder(batch=1)
    x = g.node(act, [g.conv(g.input(3, 5, 5), 3, 4)])
    r = g.node("Sigmoid", [g.gemm(g.node("Flatten", [g.node("GlobalAveragePool", [x])]), 4, 3)])
    w = g.node("MatMul", [r, g.normal(3, 6 * 4 // group * 9, stem="experts")])
    y = g.node("Conv", [x, g.reshape(w, [6, 4 // group, 3, 3])], pads=[1] * 4, group=group)
    return g.model(g.conv(g.node("Relu", [y]), 6, 5))


def test_mixed_kernels_shrink_along_one_of_their_axes():
    """Six outputs are more than four inputs, so x's channels stay; the router's experts may go."""
    proto = _mixed_kernels("Relu")
    assert described(proto) == ["3: b1.0 experts0.0 w1.0", "6: experts0.1*36 w2.1"] or (
        described(proto) == ["6: experts0.1*36 w2.1", "~3: b1.0 experts0.0 w1.0"]
    )
    assert "w0.0" in kept(proto)
    pruned = prove(proto, equal="~" not in "".join(described(proto)))
    assert initializer(pruned, "experts0").shape == (1, 3 * 36)


@pytest.mark.parametrize("act", ["Relu", "Sigmoid"])
def test_computed_kernels_contract_exactly_only_what_is_zero(act):
    """A kernel without outputs to spare: its input axis goes, with a sigmoid's ones not exactly."""
    g = Builder(batch=1)
    x = g.node(act, [g.conv(g.input(3, 5, 5), 3, 4)])
    k = g.conv(g.node("GlobalAveragePool", [x]), 4, 4 * 9, 1)
    y = g.node("Conv", [x, g.reshape(g.node("Sigmoid", [k]), [1, 4, 3, 3])])
    proto = g.model(y)
    flag = "" if act == "Relu" else "~"
    assert described(proto) == [f"{flag}4: b0.0 b1.0*9 w0.0 w1.0*9 w1.1"]
    prove(proto, plain=False, equal=act == "Relu")


def test_a_filter_per_channel_goes_with_its_channel():
    g = Builder(batch=1)
    x = g.node("Sigmoid", [g.conv(g.input(3, 5, 5), 3, 4)])
    k = g.reshape(g.conv(g.node("GlobalAveragePool", [x]), 4, 4 * 9, 1), [4, 1, 3, 3])
    y = g.node("Conv", [x, k], pads=[1] * 4, group=4)
    proto = g.model(g.conv(y, 4, 5))
    assert described(proto) == ["4: b0.0 b1.0*9 w0.0 w1.0*9 w1.1 w2.1"]
    prove(proto)


def test_macs_follow_a_covered_axis():
    g = Builder(batch=1)
    x = g.unsqueeze(g.node("MatMul", [g.input(9, 7), g.normal(7, 6)]), [1])
    proto = g.model(g.node("Conv", [x, g.normal(5, 1, 2, 6)]))
    model = spa.load(proto)
    assert spa.measure_cost(model).macs == 9 * 7 * 6 + 8 * 5 * 2 * 6
    result = spa.prune(proto, ratio=0.5, limits=spa.Limits(scope="local"))
    smaller = spa.measure_cost(spa.load(result.model)).macs
    assert smaller == 9 * 7 * 3 + 8 * 5 * 2 * 3
    assert result.plan.reached["rf"] == 2.0


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
