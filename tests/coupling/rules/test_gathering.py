"""GatherElements and GatherND: known picks move labels, computed ones keep the counted axis."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of


def _wide(indices: list[int], *others: int) -> np.ndarray:
    """Indices along axis 1, the same for every entry of the other axes; (N, M, H, W)."""
    n, h, w = others
    return np.broadcast_to(np.array(indices).reshape(1, -1, 1, 1), (n, len(indices), h, w))


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize(
    ("indices", "groups"),
    [
        ([7, 6, 5, 4, 3, 2, 1, 0], ["8: b0.0 w0.0 w1.1"]),
        ([3, 1, 4, 0, 5, 2, 7, 6], ["8: b0.0 w0.0 w1.1"]),
        ([-1, -3, -5, -7], ["4: b0.0 w0.0", "4: b0.0 w0.0 w1.1"]),
        ([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7], ["8: b0.0 w0.0 w1.1*2"]),
    ],
)
def test_a_selection_of_channels(opset, indices, groups):
    g = Builder(opset, batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    x = g.node("GatherElements", [x, g.weight(_wide(indices, 2, 4, 4), "k")], axis=1)
    proto = g.model(g.conv(x, len(indices), 5))
    assert described(proto) == groups
    prove(proto)


def test_indices_of_any_length_are_known():
    g = Builder(batch=2)
    x = g.conv(g.input(3, 24, 24), 3, 8)
    x = g.node("GatherElements", [x, g.weight(_wide(list(range(8))[::-1], 2, 24, 24), "k")], axis=1)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_a_selection_that_differs_by_pixel_couples_what_it_mixes():
    """Pixels of even columns swap channels 0 and 1, 2 and 3, ...; the others do not."""
    g = Builder(batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    indices = _wide([1, 0, 3, 2, 5, 4, 7, 6], 2, 4, 4).copy()
    indices[..., 1::2] = np.arange(8).reshape(1, 8, 1, 1)
    x = g.node("GatherElements", [x, g.weight(indices, "k")], axis=1)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["4: b0.0*2 w0.0*2 w1.1*2"]
    prove(proto)


def test_picks_along_pixels_pass_channels():
    """Fewer entries than the data has along the other axes: the first ones are taken."""
    g = Builder(batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    indices = g.rng.integers(0, 4, (2, 6, 4, 5))
    x = g.node("GatherElements", [x, g.weight(indices, "k")], axis=3)
    proto = g.model(g.conv(x, 6, 5))
    assert described(proto) == ["2: b0.0 w0.0", "6: b0.0 w0.0 w1.1"]
    pruned = prove(proto)
    assert initializer(pruned, node_of(pruned, "GatherElements").input[1]).shape == (2, 3, 4, 5)


def test_computed_picks_along_pixels_tie_the_channels_of_both():
    g = Builder()
    x = g.input(3, 4, 4)
    a = g.conv(x, 3, 8)
    order = g.node("TopK", [g.conv(x, 3, 8), g.ints([3])], 2, axis=3)[1]
    proto = g.model(g.conv(g.node("GatherElements", [a, order], axis=3), 8, 5))
    assert described(proto) == ["8: b0.0 b1.0 w0.0 w1.0 w2.1"]
    prove(proto, plain=False)


def test_computed_picks_of_channels_keep_them():
    g = Builder()
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8), g.conv(x, 3, 8)
    count = g.node("Cast", [g.node("Greater", [b, a])], to=TensorProto.INT64)
    proto = g.model(g.conv(g.node("GatherElements", [a, count], axis=1), 8, 5))
    assert described(proto) == []
    assert "computed while the model runs" in kept(proto)["w0.0"]


# --- GatherND -----------------------------------------------------------------------------------


def _picked(indices: np.ndarray, *, batch_dims: int = 0) -> onnx.ModelProto:
    """x: (N, C, 4, 4) with channels first for GatherND; the picks are convolved."""
    g = Builder(13, batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    if not batch_dims:
        x = g.node("Transpose", [x], perm=[1, 0, 2, 3])
    x = g.node("GatherND", [x, g.weight(indices, "k")], batch_dims=batch_dims)
    if not batch_dims:
        x = g.node("Transpose", [x], perm=[1, 0, 2, 3])
    return g.model(g.conv(x, indices.shape[batch_dims], 5))


@pytest.mark.parametrize("indices", [[5, 2, 7], [-1, -2, -3, -4]])
def test_tuples_of_one_index(indices):
    proto = _picked(np.array(indices).reshape(-1, 1))
    size = len(indices)
    assert described(proto) == sorted([f"{size}: b0.0 w0.0 w1.1", f"{8 - size}: b0.0 w0.0"])
    prove(proto)


def test_the_same_picks_for_every_example():
    indices = np.broadcast_to(np.array([6, 0, 3, 1]).reshape(1, -1, 1), (2, 4, 1))
    proto = _picked(indices, batch_dims=1)
    assert described(proto) == ["4: b0.0 w0.0", "4: b0.0 w0.0 w1.1"]
    prove(proto)


def test_other_picks_for_every_example_couple_what_they_mix():
    indices = np.array([[6, 0, 3, 1], [6, 2, 3, 5]]).reshape(2, 4, 1)
    proto = _picked(indices, batch_dims=1)
    assert described(proto) == ["2: b0.0 w0.0", "2: b0.0 w0.0 w1.1", "2: b0.0*2 w0.0*2 w1.1"]
    prove(proto)


def test_tuples_of_pixels_pass_channels():
    g = Builder(13, batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    x = g.node("Transpose", [x], perm=[2, 3, 0, 1])  # (H, W, N, C)
    x = g.node("GatherND", [x, g.weight(np.array([[0, 1], [3, 2], [1, 1]]), "k")])  # (3, N, C)
    proto = g.model(g.node("MatMul", [x, g.normal(8, 5)]))
    assert described(proto) == ["8: b0.0 w0.0 w1.0"]
    prove(proto)


def test_computed_tuples_keep_the_axes_they_count_along():
    g = Builder(13, batch=2)
    x = g.input(3, 4, 4)
    a = g.node("Transpose", [g.conv(x, 3, 8)], perm=[2, 3, 0, 1])  # (H, W, N, C)
    best = g.node("ArgMax", [g.reshape(x, [6, 16])], axis=1, keepdims=1)
    pairs = g.node("Concat", [g.node("Mod", [best, g.ints([4])])] * 2, axis=1)  # (6, 2)
    proto = g.model(g.node("MatMul", [g.node("GatherND", [a, pairs]), g.normal(8, 5)]))
    assert described(proto) == ["8: b0.0 w0.0 w1.0"]
    prove(proto)


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("places", [[7, 6, 5, 4, 3, 2, 1, 0], [1, 1, 6, 3]])
def test_indices_that_are_expanded_first(batch, places):
    """As torch.gather with an expanded index comes out of the exporters."""
    g = Builder(18, batch=batch)
    source = g.input(3, 4, 4)
    x = g.conv(source, 3, 8)
    order = g.weight(np.array(places).reshape(-1, 1, 1), "k")
    size = g.node("Shape", [source], end=1)
    target = g.node("Concat", [size, g.ints([len(places), 4, 4])], axis=0)
    x = g.node("GatherElements", [x, g.node("Expand", [order, target])], axis=1)
    proto = g.model(g.conv(x, len(places), 5))
    if len(places) == 8:
        assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    else:
        assert described(proto) == ["1: b0.0 w0.0 w1.1*2", "2: b0.0 w0.0 w1.1", "5: b0.0 w0.0"]
    pruned = prove(proto)
    kinds = [node.op_type for node in pruned.graph.node]
    assert ("GatherElements" in kinds) == (batch == 1)


def test_expanded_indices_that_differ_along_more_than_the_axis_lose_what_the_data_lose():
    """As in DeBERTa: which relative position each head reads, the same for all heads."""
    g = Builder(18)
    source = g.input(3, 4, 4)
    x = g.conv(source, 3, 8)
    places = g.weight(np.array([[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]), "k")
    target = g.node("Concat", [g.node("Shape", [source], end=1), g.ints([8, 4, 4])], axis=0)
    x = g.node("GatherElements", [x, g.node("Expand", [places, target])], axis=-1)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_expanded_indices_of_the_first_pixels_keep_the_channels():
    """They are no Gather: fewer pixels come out than go in."""
    g = Builder(18)
    source = g.input(3, 4, 4)
    x = g.conv(source, 3, 8)
    target = g.node("Concat", [g.node("Shape", [source], end=1), g.ints([8, 4, 3])], axis=0)
    order = g.node("Expand", [g.weight(np.arange(8).reshape(-1, 1, 1), "k"), target])
    proto = g.model(g.conv(g.node("GatherElements", [x, order], axis=1), 8, 5))
    assert described(proto) == []
    assert "computed while the model runs" in kept(proto)["w0.0"]
