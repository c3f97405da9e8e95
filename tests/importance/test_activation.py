"""APoZ against counting zeros of every ReLU's output by hand."""

from __future__ import annotations

import numpy as np
import pytest

import spa
from spa.observe import activations
from tests.graphs import Builder, initializer


def test_activation_counts_what_is_not_zero(monkeypatch):
    """Of two ReLUs that read a group the mean counts; batches are of 3 and fewer samples."""
    g = Builder()
    first = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8)])
    second = g.node("Relu", [g.node("Add", [first, g.conv(first, 8, 8)])])
    proto = g.model(g.conv(second, 8, 4))
    model = spa.load(proto)
    monkeypatch.setattr(activations, "MOST", 3)
    x = np.random.default_rng(0).standard_normal((7, 3, 6, 6)).astype(np.float32)

    def conv(values, name):
        w, b = initializer(proto, f"w{name}"), initializer(proto, f"b{name}")
        padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.einsum("nihwkl,oikl->nohw", windows, w) + b[:, None, None]

    one = np.maximum(conv(x, 0), 0)
    two = np.maximum(one + conv(one, 1), 0)
    want = (np.mean(one > 0, axis=(0, 2, 3)) + np.mean(two > 0, axis=(0, 2, 3))) / 2
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "activation", data=x)
    (group,) = groups.groups
    np.testing.assert_allclose(scores.by_group[group.id], want, atol=1e-3)


def test_a_model_without_zeros_says_so():
    g = Builder()
    proto = g.model(g.conv(g.node("Sigmoid", [g.conv(g.input(3, 6, 6), 3, 8)]), 8, 4))
    with pytest.raises(spa.SettingError, match="no such operator"):
        spa.prune(proto, criterion="activation", rf=1.3, data="noise")
