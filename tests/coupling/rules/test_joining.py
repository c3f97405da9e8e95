"""Concat, Pad, Expand and Tile: offsets are exact, made-up entries may go."""

import numpy as np
import onnx
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, attribute, from_text, initializer, node_of


def _concat(parts: str, total: int, body: str = "", **weights):
    text = f"""g (float[N,3,6,6] x) => (float[N,5,6,6] y) {{
      a = Conv<pads=[1,1,1,1]>(x, A)
      b = Conv<pads=[1,1,1,1]>(x, B)
      {body}
      z = Concat<axis=1>({parts})
      y = Conv(z, C)
    }}"""
    shapes = {"A": (8, 3, 3, 3), "B": (4, 3, 3, 3), "C": (5, total, 1, 1), **weights}
    if "b" not in f"{parts} {body}".replace("Sub", ""):
        shapes.pop("B")
        text = text.replace("b = Conv<pads=[1,1,1,1]>(x, B)", "")
    return from_text(text, shapes)


def test_concat_of_unequal_branches_keeps_them_apart():
    proto = _concat("a, b", 12)
    assert described(proto) == ["4: B.0 C.1", "8: A.0 C.1"]
    pruned = prove(proto)
    assert initializer(pruned, "C").shape == (5, 6, 1, 1)


def test_concat_of_the_same_tensor_twice_removes_both_copies():
    """Torch-Pruning 146."""
    proto = _concat("a, a", 16)
    assert described(proto) == ["8: A.0 C.1*2"]
    pruned = prove(proto)
    assert initializer(pruned, "C").shape == (5, 8, 1, 1)


def test_concat_of_one_tensor_around_another():
    proto = _concat("a, b, a", 20)
    assert described(proto) == ["4: B.0 C.1", "8: A.0 C.1*2"]
    prove(proto)


def test_concat_with_the_input_keeps_the_inputs_entries_only():
    proto = _concat("a, x", 11)
    assert described(proto) == ["8: A.0 C.1"]
    assert kept(proto)["C.1"].startswith("3 of 11")
    prove(proto)


def test_concat_with_a_constant_branch():
    g = Builder(batch=2)
    x = g.conv(g.input(3, 6, 6), 3, 8)
    extra = g.normal(2, 2, 6, 6, stem="table")
    proto = g.model(g.conv(g.node("Concat", [x, extra], axis=1), 10, 5))
    assert described(proto) == ["2: table0.1 w1.1", "8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_concat_of_a_branch_of_one_channel():
    proto = _concat("a, m", 9, body="m = Conv<pads=[1,1,1,1]>(x, M)", M=(1, 3, 3, 3))
    assert described(proto) == ["8: A.0 C.1"]
    prove(proto)


@pytest.mark.parametrize("at", [0, 3, 8])
def test_concat_with_a_branch_without_entries(at):
    """Phi-3 rotates all of a head, and joins what is left over: nothing."""
    body = f"""o = Constant<value_ints=[1]>()
      i = Constant<value_ints=[{at}]>()
      e = Slice(a, i, i, o)"""
    for parts in ("a, e", "e, a"):
        proto = _concat(parts, 8, body=body)
        assert described(proto) == ["8: A.0 C.1"]
        pruned = prove(proto)
        assert initializer(pruned, "C").shape == (5, 4, 1, 1)


def test_heads_joined_with_what_is_left_of_them():
    """The leftover follows heads and their entries at once."""
    g = Builder(batch=2)
    x = g.node("MatMul", [g.input(6, 12), g.normal(12, 12, stem="w")])
    x = g.reshape(x, [0, 6, 3, 4])
    x = g.node("Concat", [x, g.slice(x, 4, 4, axis=3)], axis=-1)
    x = g.reshape(x, [0, 6, 12])
    proto = g.model(g.node("MatMul", [x, g.normal(12, 5, stem="v")]))
    assert described(proto) == ["4: v0.0*3 w0.1*3"]
    prove(proto)


def test_dense_connections():
    """DenseNet: every layer reads all before it, at its own offsets."""
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 6, bias=False)
    for channels in (6, 10, 14):
        y = g.conv(g.node("Relu", [x]), channels, 4, bias=False)
        x = g.node("Concat", [x, y], axis=1)
    proto = g.model(g.conv(x, 18, 5, bias=False))
    assert described(proto) == [
        "4: w1.0 w2.1 w3.1 w4.1", "4: w2.0 w3.1 w4.1", "4: w3.0 w4.1",
        "6: w0.0 w1.1 w2.1 w3.1 w4.1",
    ]  # fmt: skip
    prove(proto)


def test_concat_over_pixels_unifies_the_channels():
    text = """g (float[N,3,6,6] x) => (float[N,5,12,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      b = Conv<pads=[1,1,1,1]>(x, B)
      z = Concat<axis=2>(a, b)
      y = Conv(z, C)
    }"""
    proto = from_text(text, {"A": (8, 3, 3, 3), "B": (8, 3, 3, 3), "C": (5, 8, 1, 1)})
    assert described(proto) == ["8: A.0 B.0 C.1"]
    prove(proto)


def test_a_sum_of_concats_couples_part_by_part():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      b = Conv<pads=[1,1,1,1]>(x, B)
      c = Conv<pads=[1,1,1,1]>(x, D)
      u = Concat<axis=1>(a, b)
      z = Add(u, c)
      y = Conv(z, C)
    }"""
    proto = from_text(
        text,
        {"A": (8, 3, 3, 3), "B": (4, 3, 3, 3), "D": (12, 3, 3, 3), "C": (5, 12, 1, 1)},
    )
    assert described(proto) == ["4: B.0 C.1 D.0", "8: A.0 C.1 D.0"]
    prove(proto)


@pytest.mark.parametrize("opset", [9, 11, 17, 22])
@pytest.mark.parametrize("before", [0, 2])
def test_a_channel_pad_makes_entries_that_may_go(opset, before):
    g = Builder(opset)
    x = g.pad(g.conv(g.input(3, 6, 6), 3, 8), [0, before, 0, 0, 0, 3, 0, 0])
    proto = g.model(g.conv(x, 11 + before, 5))
    assert described(proto) == [f"{3 + before}: w1.1", "8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_a_shortcut_padded_with_zero_channels():
    """ResNet's shortcut of type A: the padded entries go with the branch that they meet."""
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8, bias=False)
    y = g.conv(g.node("Relu", [x]), 8, 16, bias=False)
    z = g.node("Add", [y, g.pad(x, [0, 4, 0, 0, 0, 4, 0, 0])])
    proto = g.model(g.conv(g.node("Relu", [z]), 16, 5, bias=False))
    assert described(proto) == ["8: w0.0 w1.0 w1.1 w2.1", "8: w1.0 w2.1"]
    pruned = prove(proto)
    pads = initializer(pruned, node_of(pruned, "Pad").input[1])
    assert pads.shape == (8,)
    assert pads[1] + pads[5] == 4


def test_a_negative_pad_crops_channels():
    g = Builder()
    x = g.pad(g.conv(g.input(3, 6, 6), 3, 8), [0, -1, 0, 0, 0, -2, 0, 0])
    proto = g.model(g.conv(x, 5, 5))
    # Cropped channels reach nothing; they may go too.
    assert described(proto) == ["3: b0.0 w0.0", "5: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("opset", [9, 13, 20])
def test_a_pad_of_pixels_passes_channels(mode, opset):
    g = Builder(opset)
    x = g.pad(g.conv(g.input(3, 6, 6), 3, 8), [0, 0, 1, 2, 0, 0, 2, 1], mode)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("mode", ["edge", "reflect"])
def test_a_pad_that_repeats_channels_keeps_them(mode):
    g = Builder()
    x = g.pad(g.conv(g.input(3, 6, 6), 3, 8), [0, 1, 0, 0, 0, 1, 0, 0], mode)
    proto = g.model(g.conv(x, 10, 5))
    assert described(proto) == []
    assert "the padding repeats its entries" in kept(proto)["w0.0"]


def test_a_pad_with_axes():
    g = Builder(18)
    x = g.conv(g.input(3, 6, 6), 3, 8)
    x = g.node("Pad", [x, g.ints([2, 1]), "", g.ints([-3])])
    proto = g.model(g.conv(x, 11, 5))
    assert described(proto) == ["3: w1.1", "8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_expand_makes_entries_that_go_with_what_they_meet():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      m = Conv<pads=[1,1,1,1]>(x, M)
      k = Constant<value_ints=[1,8,1,1]>()
      e = Expand(m, k)
      a = Conv<pads=[1,1,1,1]>(x, A)
      z = Add(a, e)
      y = Conv(z, C)
    }"""
    proto = from_text(text, {"A": (8, 3, 3, 3), "M": (1, 3, 3, 3), "C": (5, 8, 1, 1)})
    assert described(proto) == ["8: A.0 C.1"]
    pruned = prove(proto)
    assert initializer(pruned, node_of(pruned, "Expand").input[1]).tolist() == [1, 4, 1, 1]


def test_expand_over_pixels_passes_channels():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8)
    s = g.node("Expand", [g.node("GlobalAveragePool", [x]), g.ints([1, 8, 6, 6])])
    proto = g.model(g.conv(g.node("Concat", [x, s], axis=1), 16, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1*2"]
    prove(proto)


def test_expand_to_the_shape_of_another_tensor():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8)
    s = g.node("Expand", [g.node("GlobalAveragePool", [x]), g.node("Shape", [x])])
    proto = g.model(g.conv(g.node("Concat", [x, s], axis=1), 16, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1*2"]
    prove(proto)


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("batch", ["N", 2])
def test_expand_to_the_shape_of_a_tensor_with_other_channels(opset, batch):
    """The computed target's channels follow another tensor: they must not be read."""
    g = Builder(opset, batch)
    x = g.input(3, 6, 6)
    a = g.conv(x, 3, 8, bias=False)
    b = g.conv(x, 3, 8, bias=False)
    s = g.node("GlobalAveragePool", [g.node("Relu", [a])])
    s = g.node("Expand", [s, g.node("Shape", [b])])
    y = g.conv(g.node("Concat", [s, b], axis=1), 16, 5, bias=False)
    proto = g.model(y)
    assert described(proto) == ["8: w0.0 w2.1", "8: w1.0 w2.1"]
    prove(proto)
    prove(proto, ratio=0.25)


@pytest.mark.parametrize("batch", ["N", 2])
def test_a_mask_expanded_as_the_features(batch):
    """expand_as: the computed target names sizes that vary and others."""
    g = Builder(17, batch)
    x = g.input(3, 6, 6)
    a = g.conv(x, 3, 8, bias=False)
    mask = g.node("Expand", [g.normal(1, 1, 6, 6, stem="m"), g.node("Shape", [a])])
    proto = g.model(g.conv(g.node("Mul", [a, mask]), 8, 5, bias=False))
    assert described(proto) == ["8: w0.0 w1.1"]
    prove(proto)


def test_an_expanded_target_as_the_older_exporter_writes_it():
    """A -1 leaves a size as it is: where(target == -1, 1, target)."""
    g = Builder(17)
    x = g.input(3, 6, 6)
    a = g.conv(x, 3, 8, bias=False)
    target = g.node("Shape", [a])
    ones = g.node("ConstantOfShape", [g.node("Shape", [target])],
                  value=onnx.numpy_helper.from_array(np.array([1])))  # fmt: skip
    same = g.node("Equal", [target, g.node("Mul", [ones, g.ints([-1])])])
    mask = g.normal(1, 1, 6, 6, stem="m")
    mask = g.node("Expand", [mask, g.node("Where", [same, ones, target])])
    proto = g.model(g.conv(g.node("Mul", [a, mask]), 8, 5, bias=False))
    assert described(proto) == ["8: w0.0 w1.1"]
    prove(proto)


def test_tile_repeats_channels():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 8)
    x = g.node("Tile", [x, g.ints([1, 3, 1, 1])])
    proto = g.model(g.conv(x, 24, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1*3"]
    prove(proto)


def test_tile_over_pixels_passes_channels():
    g = Builder()
    x = g.node("Tile", [g.conv(g.input(3, 6, 6), 3, 8), g.ints([1, 1, 2, 1])])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_attributes_of_old_opsets_follow():
    g = Builder(9)
    x = g.pad(g.conv(g.input(3, 6, 6), 3, 8), [0, 0, 0, 0, 0, 8, 0, 0])
    pruned = prove(g.model(g.conv(x, 16, 5)))
    assert attribute(node_of(pruned, "Pad"), "pads") == [0, 0, 0, 0, 0, 4, 0, 0]


def test_a_concat_of_a_dense_part_with_an_add():
    """Kept entries inside an otherwise prunable axis stay, and what meets them stays."""
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, A)
      u = Concat<axis=1>(x, a)
      c = Conv<pads=[1,1,1,1]>(x, D)
      z = Add(u, c)
      y = Conv(z, C)
    }"""
    proto = from_text(text, {"A": (8, 3, 3, 3), "D": (11, 3, 3, 3), "C": (5, 11, 1, 1)})
    assert described(proto) == ["8: A.0 C.1 D.0"]
    assert kept(proto)["D.0"].startswith("3 of 11")
    pruned = prove(proto)
    assert np.array_equal(initializer(pruned, "D")[:3], initializer(proto, "D")[:3])


@pytest.mark.parametrize("opset", [8, 17])
def test_expand_over_a_batch_whose_size_is_computed(opset):
    """Of the target (N, 8, 6, 6) only the channels change, whether they come or are made."""
    g = Builder(opset)
    x = g.input(3, 6, 6)
    size = g.node("Gather", [g.node("Shape", [x]), g.ints([0])], axis=0)
    target = g.node("Concat", [size, g.ints([8, 6, 6])], axis=0)
    position = g.node("Expand", [g.normal(1, 8, 6, 6, stem="p"), target])
    one = g.node("Expand", [g.weight(np.ones((1, 1, 1, 1), np.float32), "one"), target])
    y = g.node("Add", [g.node("Mul", [g.conv(x, 3, 8), one]), position])
    proto = g.model(g.conv(y, 8, 5))
    assert described(proto) == ["8: b0.0 p0.1 w0.0 w1.1"]
    prove(proto)


def test_repeats_of_one_entry_go_with_what_they_meet():
    text = """g (float[N,3,6,6] x) => (float[N,5,6,6] y) {
      m = Conv<pads=[1,1,1,1]>(x, M)
      k = Constant<value_ints=[1,8,1,1]>()
      e = Tile(m, k)
      a = Conv<pads=[1,1,1,1]>(x, A)
      z = Add(a, e)
      y = Conv(z, C)
    }"""
    proto = from_text(text, {"A": (8, 3, 3, 3), "M": (1, 3, 3, 3), "C": (5, 8, 1, 1)})
    assert described(proto) == ["8: A.0 C.1"]
    pruned = prove(proto)
    assert initializer(pruned, node_of(pruned, "Tile").input[1]).tolist() == [1, 4, 1, 1]
