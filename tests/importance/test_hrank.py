"""HRank on maps of planted ranks."""

from __future__ import annotations

import numpy as np
import pytest

import spa
from spa.observe import activations
from tests.graphs import Builder


def test_ranks_of_planted_maps(monkeypatch):
    """Channel c of the input has rank c + 1; a convolution of one pixel hands channels on."""
    rng = np.random.default_rng(0)
    factors = [rng.random((7, 6, c + 1)) @ rng.random((7, c + 1, 6)) for c in range(4)]
    x = np.stack(factors, axis=1).astype(np.float32)
    g = Builder()
    order = np.array([2, 0, 3, 1])
    hand_on = np.eye(4, dtype=np.float32)[order][:, :, None, None]
    h = g.conv(g.input(4, 6, 6), 4, 4, 1, weight=g.weight(hand_on), bias=False)
    model = spa.load(g.model(g.conv(g.node("Relu", [h]), 4, 5)))
    monkeypatch.setattr(activations, "MOST", 3)
    scores = spa.score(model, spa.find_groups(model), "hrank", data=x)
    np.testing.assert_array_equal(scores.by_group[0], order + 1)


def test_every_map_counts_by_itself():
    """Two samples of rank one: their mean map has rank two, each of them one."""
    u = np.eye(6, dtype=np.float32)
    x = np.stack([np.outer(u[0], u[0]), np.outer(u[1], u[1])])[:, None]
    g = Builder()
    h = g.conv(g.input(1, 6, 6), 1, 2, 1, weight=g.weight(np.ones((2, 1, 1, 1), np.float32)))
    (bias,) = [t for t in g.initializers if t.name.startswith("b")]
    bias.raw_data = np.zeros(2, np.float32).tobytes()
    model = spa.load(g.model(g.conv(g.node("Relu", [h]), 2, 5)))
    scores = spa.score(model, spa.find_groups(model), "hrank", data=x)
    np.testing.assert_array_equal(scores.by_group[0], [1, 1])


def test_a_model_without_maps_says_so():
    g = Builder()
    proto = g.model(g.gemm(g.node("Relu", [g.gemm(g.input(4), 4, 8)]), 8, 3))
    with pytest.raises(spa.SettingError, match="this model has none"):
        spa.prune(proto, criterion="hrank", rf=1.3, data="noise")
