"""The benchmark of the bridge finds what is equal, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from experiments.bench import bridge
from experiments.bench.networks import Network


@pytest.fixture
def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten())
    return Network("made", module.eval(), (torch.randn(2, 3, 5, 5),))


@pytest.fixture
def judged(network, monkeypatch):
    monkeypatch.setattr(bridge.NETWORKS, "get", lambda name: lambda: network)
    return lambda: bridge.judge("made/small")


def test_a_network_is_read_back_whole(judged):
    row = judged()
    assert row["stage"] == "done"
    assert row["outputs"] < bridge.WANTED
    assert row["gradients"] < bridge.WANTED_GRADIENTS
    assert row["trainable"] == 3 * 4 * 9 + 4 + 4 + 4
    assert row["share"] == 1


@pytest.mark.parametrize("what", ["outputs", "gradients"])
def test_a_wrong_bridge_shows(judged, monkeypatch, what):
    import spa.bridge

    right = spa.bridge.to_torch

    def wrong(proto):
        net = right(proto)
        weight = next(iter(net.weights.values()))
        if what == "outputs":
            weight.data.mul_(1.01)
        else:
            weight.register_hook(lambda grad: 1.01 * grad)
        return net

    monkeypatch.setattr(spa.bridge, "to_torch", wrong)
    row = judged()
    assert row[what] > bridge.WANTED_GRADIENTS
    assert not bridge._is_equal(row)
    assert "made/small | done" in bridge.report([row])


def test_a_network_that_cannot_be_read_back_says_why(judged, monkeypatch):
    monkeypatch.setattr("spa.bridge.to_torch", lambda proto: 1 / 0)
    row = judged()
    assert (row["stage"], row["reason"]) == ("read back", "ZeroDivisionError: division by zero")


def test_differences_are_by_the_largest_value():
    assert bridge._difference(np.float32([1, 3]), np.float32([1, 4])) == 0.25
    assert bridge._difference(np.float32([np.inf, 1]), np.float32([np.inf, 1])) == 0
    assert bridge._difference(np.float32([np.nan, 1]), np.float32([0, 1])) == np.inf
    assert bridge._difference(np.int64([1, 2]), np.int64([1, 3])) == 1
    with pytest.raises(ValueError, match="shape"):
        bridge._difference(np.zeros(2), np.zeros((2, 1)))
