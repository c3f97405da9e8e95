"""Scatter operators: known places move with the channels, computed ones keep the counted axis."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of

BOTH = "b0.0 b1.0 w0.0 w1.0 w2.1"


def _assigned(places: np.ndarray, *, opset: int = 18, reduction: str | None = None, parts: int = 0):
    """``x[:, places] = y`` as torch exports it: ScatterND with the channels in front."""
    g = Builder(opset)
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8), g.conv(x, 3, parts or len(places))
    a, b = (g.node("Transpose", [t], perm=[1, 0, 2, 3]) for t in (a, b))
    y = g.node("ScatterND", [a, g.weight(places, "k"), b], reduction=reduction)
    y = g.node("Transpose", [y], perm=[1, 0, 2, 3])
    return g.model(g.conv(y, 8, 5))


@pytest.mark.parametrize("opset", [11, 13, 16, 18])
@pytest.mark.parametrize("places", [[2, 3, 4], [0, 2, 4, 6], [7, 1, 5], [-1, -8]])
def test_an_assignment_to_channels(opset, places):
    """The channels that are written over go with those that are written."""
    proto = _assigned(np.array(places).reshape(-1, 1), opset=opset)
    n = len(places)
    assert described(proto) == sorted([f"{n}: {BOTH}", f"{8 - n}: b0.0 w0.0 w2.1"])
    prove(proto)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_an_update_of_channels(reduction):
    places = np.array([[2], [3], [4]])
    proto = _assigned(places, reduction=reduction)
    assert described(proto) == [f"3: {BOTH}", "5: b0.0 w0.0 w2.1"]
    prove(proto)


def test_updates_that_fall_on_one_channel_go_together():
    places = np.array([[2], [3], [2], [3]])
    proto = _assigned(places, reduction="add")
    assert described(proto) == ["2: b0.0 b1.0*2 w0.0 w1.0*2 w2.1", "6: b0.0 w0.0 w2.1"]
    prove(proto)


def test_an_assignment_to_one_channel_keeps_it():
    proto = _assigned(np.array([[3]]))
    assert described(proto) == ["7: b0.0 w0.0 w2.1"]
    assert kept(proto)["w0.0"].startswith("1 of 8")
    prove(proto)


def test_places_in_a_constant_of_all_axes():
    """As the older exporter writes it, with a place for every batch entry and channel."""
    g = Builder(16, batch=2)
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8), g.conv(x, 3, 3)
    places = np.stack(np.meshgrid([0, 1], [2, 3, 4], indexing="ij"), axis=-1)  # (2, 3, 2)
    y = g.node("ScatterND", [a, g.weight(places, "k"), b])
    proto = g.model(g.conv(y, 8, 5))
    assert described(proto) == [f"3: {BOTH}", "5: b0.0 w0.0 w2.1"]
    pruned = prove(proto)
    left = initializer(pruned, node_of(pruned, "ScatterND").input[1])
    assert left.shape[0] == 2
    assert left.shape[1] == 2


def test_places_that_tie_two_axes_keep_the_channels():
    """A list of (row, channel) pairs is no product of axes: both axes are followed by layers."""
    g = Builder(16, batch=2)
    table = g.normal(8, 8, stem="t")
    where = g.weight(np.array([[0, 1], [3, 2], [5, 7]]), "k")
    t = g.node("ScatterND", [table, where, g.normal(3, stem="u")])
    y = g.node("MatMul", [g.conv(g.input(3, 4, 8), 3, 4), t])
    proto = g.model(g.node("MatMul", [y, g.normal(8, 5)]))
    assert described(proto) == []
    assert "scattered over several axes" in kept(proto)["t0.1"]


def test_an_assignment_to_pixels_ties_the_channels():
    """``x[..., ::2] = y``: the pixels are counted along, the channels are shared."""
    g = Builder(18)
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8), g.slice(g.conv(x, 3, 8), 0, 2, axis=3)
    a, b = (g.node("Transpose", [t], perm=[3, 1, 2, 0]) for t in (a, b))
    y = g.node("ScatterND", [a, g.weight(np.array([[0], [2]]), "k"), b])
    proto = g.model(g.conv(g.node("Transpose", [y], perm=[3, 1, 2, 0]), 8, 5))
    assert described(proto) == [f"8: {BOTH}"]
    prove(proto)


def test_computed_places_keep_what_they_count_along():
    g = Builder(18, batch=1)
    x = g.input(3, 4, 4)
    a = g.node("Transpose", [g.conv(x, 3, 8)], perm=[1, 0, 2, 3])
    b = g.node("Transpose", [g.conv(x, 3, 2)], perm=[1, 0, 2, 3])
    best = g.node("ArgMax", [g.reshape(x, [2, 24])], axis=1, keepdims=1)  # (2, 1)
    y = g.node("ScatterND", [a, g.node("Mod", [best, g.ints([8])]), b], reduction="add")
    proto = g.model(g.conv(g.node("Transpose", [y], perm=[1, 0, 2, 3]), 8, 5))
    assert described(proto) == []
    assert "computed while the model runs" in kept(proto)["w0.0"]


# --- ScatterElements -----------------------------------------------------------------------------


def _scattered(places: np.ndarray, axis: int, *, opset: int = 18, op: str = "ScatterElements",
               reduction: str | None = None) -> onnx.ModelProto:  # fmt: skip
    """x: (2, 8, 4, 4)   y: as the places."""
    g = Builder(opset, batch=2)
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8), g.conv(x, 3, places.shape[1])
    b = g.slice(g.slice(b, 0, places.shape[2], axis=2), 0, places.shape[3], axis=3)
    y = g.node(op, [a, g.weight(places, "k"), b], axis=axis, reduction=reduction)
    return g.model(g.conv(y, 8, 5))


def _wide(places: list[int]) -> np.ndarray:
    return np.broadcast_to(np.array(places).reshape(1, -1, 1, 1), (2, len(places), 4, 4))


@pytest.mark.parametrize(
    ("opset", "op", "reduction"),
    [(9, "Scatter", None), (11, "ScatterElements", None), (16, "ScatterElements", "add"),
     (18, "ScatterElements", "max")],
)  # fmt: skip
@pytest.mark.parametrize("places", [[2, 3, 4], [6, 0, -1]])
def test_elements_of_channels(opset, op, reduction, places):
    proto = _scattered(_wide(places), 1, opset=opset, op=op, reduction=reduction)
    assert described(proto) == [f"3: {BOTH}", "5: b0.0 w0.0 w2.1"]
    prove(proto)


def test_elements_of_the_first_channels_and_some_pixels():
    """Fewer updates than entries: what is not touched stays as it was."""
    places = np.random.default_rng(0).permuted(np.tile(np.arange(4), (2, 6, 3, 1)), axis=3)
    proto = _scattered(places[..., :2], 3)
    assert described(proto) == ["2: b0.0 w0.0 w2.1", f"6: {BOTH}"]
    prove(proto)


def test_elements_that_differ_by_pixel_keep_the_channels():
    places = _wide([2, 3, 4]).copy()
    places[..., 0] = np.array([3, 4, 2]).reshape(1, 3, 1)
    proto = _scattered(places, 1)
    assert described(proto) == []
    assert "scattered over several axes" in kept(proto)["w0.0"]


def test_computed_elements_of_pixels_tie_the_channels():
    g = Builder(18)
    x = g.input(3, 4, 4)
    a, b, c = (g.conv(x, 3, 8) for _ in range(3))
    places = g.node("TopK", [c, g.ints([4])], 2, axis=3)[1]  # a permutation of each row
    y = g.node("ScatterElements", [a, places, b], axis=3)
    proto = g.model(g.conv(y, 8, 5))
    assert described(proto) == ["8: b0.0 b1.0 b2.0 w0.0 w1.0 w2.0 w3.1"]
    prove(proto, plain=False)


def test_computed_elements_of_channels_keep_them():
    g = Builder(18)
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8), g.conv(x, 3, 8)
    places = g.node("Cast", [g.node("Greater", [b, a])], to=TensorProto.INT64)
    y = g.node("ScatterElements", [a, places, b], axis=1, reduction="add")
    proto = g.model(g.conv(y, 8, 5))
    assert described(proto) == []
    assert "computed while the model runs" in kept(proto)["w0.0"]


# --- TensorScatter -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_a_cache_that_is_updated(mode):
    """past: (N, C, S, W), as a model makes it; update: (N, C, L, W)."""
    g = Builder(24, batch=2)
    x = g.input(3, 4, 4)
    past, update = g.conv(x, 3, 8), g.slice(g.conv(x, 3, 8), 0, 2, axis=2)
    present = g.node("TensorScatter", [past, update, g.ints([1, 2])], axis=2, mode=mode)
    proto = g.model(g.conv(present, 8, 5))
    assert described(proto) == [f"8: {BOTH}"]
    prove(proto)
