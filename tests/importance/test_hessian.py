"""The Fisher diagonal against the gradient of every single sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import spa
from tests.graphs import Builder
from tests.importance.test_gates import Chain, network
from tests.importance.test_importance import elements, two_layers


def test_every_sample_s_gradient_is_squared_by_itself():
    """Neither the last sample's alone, nor the square of a mean."""
    net, model, x, y = network(Chain, True)
    net.eval()
    weights = dict(net.named_parameters())
    fisher = {name: 0.0 for name in weights}
    for i in range(len(x)):
        loss = F.cross_entropy(net(x[i : i + 1].double()), y[i : i + 1])
        for name, g in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            fisher[name] += g.numpy() ** 2 / len(x)
    half = {n: 0.5 * w.detach().numpy() ** 2 * fisher[n] for n, w in weights.items()}
    want = half["a.weight"].sum((1, 2, 3)) + half["b.weight"].sum((0, 2, 3))
    want += half["a.bias"] + half["norm.weight"] + half["norm.bias"]
    groups = spa.find_groups(model)
    scores = spa.score(model, groups, "hessian", data=(x.numpy(), y.numpy()))
    (group,) = groups.groups
    np.testing.assert_allclose(scores.by_group[group.id], want, rtol=1e-3)
    assert scores.details["fisher"] == "empirical"


def test_a_fixed_batch_size_makes_no_difference():
    found = []
    for batch in ("N", 4):
        g = Builder(batch=batch)
        x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 6, 6), 3, 8), 8)])
        x = g.node("GlobalAveragePool", [g.conv(x, 8, 5)])
        model = spa.load(g.model(g.node("Flatten", [x])))
        rng = np.random.default_rng(0)
        data = (rng.standard_normal((8, 3, 6, 6)).astype(np.float32), np.arange(8) % 5)
        for fisher in ("empirical", "true"):
            options = {"fisher": fisher}
            scores = spa.score(model, spa.find_groups(model), "hessian", data=data, options=options)
            assert scores.details["fisher"] == fisher
            found.append(scores.by_group[0])
    np.testing.assert_allclose(found[0], found[2], rtol=1e-4)
    np.testing.assert_allclose(found[1], found[3], rtol=1e-4)
    assert not np.allclose(found[0], found[1], rtol=0.1)


def test_the_true_fisher_is_the_expectation_over_the_model_s_own_labels():
    rng = np.random.default_rng(0)
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 4), (4, 3)))
    x = rng.standard_normal((1, 4)).astype(np.float32)
    logits = x.astype(float) @ w1 @ w2
    p = np.exp(logits) / np.exp(logits).sum()
    want = np.zeros((4, 3))
    for label in range(3):
        g = (x @ w1).T @ (p - np.eye(3)[label])
        want += p[0, label] * 0.5 * w2**2 * g**2
    many = np.repeat(x, 600, axis=0)
    model = two_layers(w1, w2)
    view_of = elements(model, "hessian", many, np.zeros(600, np.int64), fisher="true")
    np.testing.assert_allclose(view_of["W2"], want, rtol=0.25)
    always_zero = elements(model, "hessian", many, np.zeros(600, np.int64))
    assert not np.allclose(always_zero["W2"], want, rtol=0.25)


def test_the_true_fisher_needs_class_scores():
    _, model, x, _ = network(Chain, True)
    with pytest.raises(spa.SettingError, match="loss is outputs"):
        spa.prune(
            model, criterion="hessian", options={"fisher": "true"}, loss="outputs",
            data=x.numpy(), rf=1.2,
        )  # fmt: skip
