"""DeformConv: channels as in Conv; offsets and masks stay whole."""

from __future__ import annotations

import pytest

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, attribute, node_of


def _deformable(opset=19, *, group=1, offset_group=1, bias=True, mask=True, wide=8):
    """conv -> DeformConv -> conv, with offsets and mask from convolutions of the same map."""
    g = Builder(opset)
    x = g.input(3, 5, 5)
    y = g.conv(x, 3, wide, bias=False)
    offset = g.conv(y, wide, offset_group * 18, bias=False)
    parts = [y, g.normal(wide, wide // group, 3, 3, stem="d"), offset]
    parts.append(g.normal(wide, stem="b") if bias else "")
    if mask:
        parts.append(g.node("Sigmoid", [g.conv(y, wide, offset_group * 9, bias=False)]))
    z = g.node(
        "DeformConv", parts, kernel_shape=[3, 3], pads=[1] * 4, group=group,
        offset_group=offset_group,
    )  # fmt: skip
    return g.model(g.conv(g.node("Relu", [z]), wide, 5, bias=False))


@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_channels_of_one_group(opset, bias, mask):
    proto = _deformable(opset, bias=bias, mask=mask)
    inner = "8: d0.1 w0.0 w1.1 w2.1" if mask else "8: d0.1 w0.0 w1.1"
    outer = f"d0.0 w{3 if mask else 2}.1"
    assert described(proto) == [f"8: {'b0.0 ' if bias else ''}{outer}", inner]
    assert "where a window looks" in kept(proto)["w1.0"]
    prove(proto, plain=False)


def test_several_groups_lose_the_same_channels():
    proto = _deformable(group=2)
    lines = described(proto)
    assert lines == ["4: b0.0*2 d0.0*2 w3.1*2", "4: d0.1 w0.0*2 w1.1*2 w2.1*2"]
    prove(proto, plain=False)


def test_depthwise_channels_go_as_groups():
    proto = _deformable(group=8, mask=False)
    assert described(proto) == ["8: b0.0 d0.0 w0.0 w1.1 w2.1"]
    pruned = prove(proto, plain=False)
    assert attribute(node_of(pruned, "DeformConv"), "group") == 4


@pytest.mark.parametrize("group", [1, 2, 8])
def test_offset_groups_stay_equally_large(group):
    proto = _deformable(group=group, offset_group=2, mask=False)
    assert any("w0.0*2" in line for line in described(proto))
    pruned = prove(proto, plain=False)
    assert attribute(node_of(pruned, "DeformConv"), "offset_group") == 2


def test_its_products_are_counted():
    dense = spa.load(_deformable(mask=False))
    plain = 25 * 9 * (3 * 8 + 8 * 18 + 8 * 8 + 8 * 5)
    assert spa.measure_cost(dense).macs == plain


def test_its_outputs_are_zero_with_its_weights():
    g = Builder(19)
    x = g.input(3, 5, 5)
    offset = g.conv(x, 3, 18, bias=False)
    z = g.node("DeformConv", [x, g.normal(6, 3, 3, 3, stem="d"), offset], pads=[1] * 4)
    proto = g.model(g.reduce("ReduceSum", z, [1]))
    assert described(proto) == ["6: d0.0"]
    prove(proto, plain=False)
