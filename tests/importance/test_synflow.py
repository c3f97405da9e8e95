"""SynFlow against gates on a network of absolute weights, and by what flow conserves."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import spa
from tests.graphs import Builder
from tests.importance.test_gates import WIDTH, Chain, Residual, network


@pytest.mark.parametrize(("make", "first"), [(Chain, "a.weight"), (Residual, "stem.weight")])
def test_a_channel_s_flow_is_the_derivative_by_its_gate(make, first):
    net, model, x, _ = network(make, True)
    positive = copy.deepcopy(net).eval()
    for tensor in (*positive.parameters(), *positive.buffers()):
        tensor.data.abs_()
    gate = torch.ones(WIDTH, 1, 1, dtype=torch.float64, requires_grad=True)
    out = positive(torch.ones(1, *x.shape[1:], dtype=torch.float64), gate).sum()
    (want,) = torch.autograd.grad(out, gate)
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "synflow")
    (group,) = [g for g in groups if any(m.name == first for m in g.members)]
    np.testing.assert_allclose(scores.by_group[group.id], want.flatten(), rtol=1e-6)
    assert scores.details == {"data": "ones", "samples": 1, "targets": False}


def test_every_layer_s_flow_is_the_whole_and_single_precision_would_overflow():
    g = Builder()
    x, width = g.input(4, 6, 6), 4
    for _ in range(12):
        weight = g.weight(1e3 * g.rng.standard_normal((6, width, 3, 3)).astype(np.float32))
        x, width = g.node("Relu", [g.conv(x, width, 6, weight=weight, bias=False)]), 6
    proto = g.model(g.conv(x, 6, 5, bias=False))
    model = spa.load(proto)
    flows = [values.sum() for values in spa.score(model, spa.find_groups(model), "synflow")
             .by_group.values()]  # fmt: skip
    assert len(flows) == 12
    assert flows[0] > np.finfo(np.float32).max
    np.testing.assert_allclose(flows, flows[0], rtol=1e-9)


def test_signs_and_data_play_no_part():
    """The file's weights with other signs score alike, whatever data are given."""
    _, model, x, y = network(Chain, True)
    groups = spa.find_groups(model)
    plain = spa.score(model, groups, "synflow").by_group
    proto = copy.deepcopy(model.proto)
    rng = np.random.default_rng(0)
    for tensor in proto.graph.initializer:
        array = np.frombuffer(tensor.raw_data, np.float32)
        if array.size > 1:
            signs = rng.choice([-1, 1], array.size) if "running_var" not in tensor.name else 1
            tensor.raw_data = (array * signs).astype(np.float32).tobytes()
    other = spa.load(proto)
    signed = spa.score(other, spa.find_groups(other), "synflow", data=(x.numpy(), y.numpy()))
    for key, values in plain.items():
        np.testing.assert_allclose(signed.by_group[key], values, rtol=1e-9)
