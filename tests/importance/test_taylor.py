"""Taylor against the squared derivative by a gate that is really there."""

from __future__ import annotations

import numpy as np

import spa
from spa.observe import gradients
from tests.importance.test_gates import Chain, explicit, network


def test_taylor_is_the_mean_square_of_a_gate_s_derivative(monkeypatch):
    """Per batch, with its sign inside the batch: not the square of the mean, nor of each member."""
    net, model, x, y = network(Chain, True)
    monkeypatch.setattr(gradients, "MOST", 5)  # batches of 5, 5 and 2 samples
    parts = [(x[i : i + 5].double(), y[i : i + 5]) for i in (0, 5, 10)]
    squares = [len(b) * explicit(net, a, b, "stored")[0] ** 2 for a, b in parts]
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "taylor", data=(x.numpy(), y.numpy()))
    (group,) = groups.groups
    np.testing.assert_allclose(scores.by_group[group.id], sum(squares) / len(x), rtol=1e-3)
    assert scores.details == {
        "data": "data", "samples": 12, "targets": True, "loss": "cross_entropy",
    }  # fmt: skip
