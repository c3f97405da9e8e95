"""Wanda and VBP against the layers' inputs, taken by hand; streaming against all at once."""

from __future__ import annotations

import numpy as np
import pytest

import spa
from spa.observe import activations
from spa.observe.moments import Moments
from spa.observe.readers import find_readers
from tests.graphs import Builder, initializer


def relu_conv(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.maximum(np.einsum("nihwkl,oikl->nohw", windows, w) + b[:, None, None], 0)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(activations, "MOST", 3)


def two_readers():
    """A group of 8 that a convolution and, flattened, a matrix read."""
    g = Builder()
    h = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    y = g.node("Flatten", [g.conv(h, 8, 5)])
    z = g.gemm(g.node("Flatten", [h]), 8 * 16, 80)
    proto = g.model(g.node("Add", [y, z]))
    x = np.random.default_rng(0).standard_normal((7, 3, 4, 4)).astype(np.float32)
    h = relu_conv(x.astype(float), initializer(proto, "w0"), initializer(proto, "b0"))
    return proto, x, h


def test_wanda_sums_energy_over_all_that_read_a_channel(small_batches):
    proto, x, h = two_readers()
    conv, gemm = (initializer(proto, n).astype(float) for n in ("w1", "w2"))
    want = (h**2).mean((0, 2, 3)) * (conv**2).sum((0, 2, 3))
    columns = (h**2).reshape(7, -1).mean(0) * (gemm**2).sum(0)
    want += columns.reshape(8, 16).sum(1)
    model = spa.load(proto)
    groups = spa.find_groups(model)
    got = spa.score(model, groups, "wanda", data=x, normalize="none").by_group
    np.testing.assert_allclose(got[0], want, rtol=1e-5)


def test_variance_is_that_of_what_layers_read(small_batches):
    proto, x, h = two_readers()
    as_map = h.var((0, 2, 3))
    flat = h.reshape(7, -1).var(0).reshape(8, 16).mean(1)
    model = spa.load(proto)
    groups = spa.find_groups(model)
    got = spa.score(model, groups, "variance", data=x).by_group
    np.testing.assert_allclose(got[0], (as_map + flat) / 2, rtol=1e-5)


def test_moments_of_batches_are_those_of_all():
    """Also where the mean is a million times the deviation."""
    x = 1e6 + np.random.default_rng(0).standard_normal((10, 4, 5))
    moments = Moments(4)
    for part in (x[:3], x[3:4], x[4:4], x[4:]):
        moments.add(part, 1)
    np.testing.assert_allclose(moments.variance, x.var((0, 2)), rtol=1e-6)
    np.testing.assert_allclose(moments.square, (x**2).mean((0, 2)), rtol=1e-12)


@pytest.mark.parametrize("kind", ["grouped", "transposed", "grouped transposed"])
def test_energy_of_a_convolution_is_of_the_weights_that_read_the_channel(kind):
    """In groups, those of its own group's outputs alone."""
    g = Builder()
    groups = 2 if "grouped" in kind else 1
    make = g.conv_transpose if "transposed" in kind else g.conv
    model = spa.load(g.model(make(g.input(4, 5, 5), 4, 6, 1, group=groups, bias=False)))
    (reader,) = find_readers(model)
    energy = reader.energy(model.numbers(reader.weight))
    w = initializer(model.proto, "w0")[:, :, 0, 0].astype(float)
    for channel in range(4):
        member, place = divmod(channel, 4 // groups)
        if "transposed" in kind:
            column = w[channel]
        else:
            column = w[member * 6 // groups : (member + 1) * 6 // groups, place]
        assert energy[channel] == pytest.approx((column**2).sum())


@pytest.mark.parametrize(("trans", "form"), [(0, "gemm"), (1, "gemm"), (0, "left"), (0, "turned")])
def test_matrices_in_every_form(trans, form):
    g = Builder(batch=3)
    x, w = g.input(4), g.rng.standard_normal((5, 4)).astype(np.float32)  # (out, in)
    if form == "gemm":
        y = g.node("Gemm", [x, g.weight(w if trans else w.T.copy())], transB=trans)
    elif form == "left":
        y = g.node("MatMul", [g.weight(w), g.node("Transpose", [x], perm=[1, 0])])
    else:
        y = g.node("MatMul", [x, g.node("Transpose", [g.weight(w)], perm=[1, 0])])
    model = spa.load(g.model(y))
    (reader,) = find_readers(model)
    assert model.shapes[reader.tensor][reader.axis] == 4
    energy = reader.energy(model.numbers(reader.weight))
    np.testing.assert_allclose(energy, (w.astype(float) ** 2).sum(0), rtol=1e-6)


def test_what_no_layer_reads_is_said():
    g = Builder()
    proto = g.model(g.conv(g.input(3, 6, 6), 3, 8))
    for criterion in ("wanda", "variance"):
        with pytest.raises(spa.SettingError, match="reads channels that may go"):
            spa.prune(proto, criterion=criterion, rf=1.3, data="noise")
