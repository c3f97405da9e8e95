"""Moments in closed form, against sampling; and the statistics that they move."""

import numpy as np
import pytest

import spa
import spa.obspa
from spa.coupling.couple import couple
from spa.observe.layers import find_layers
from spa.obspa.analytic import Moments, analytic_moments, rectified
from tests.graphs import Builder, initializer


@pytest.mark.parametrize("mean", [-2.0, 0.0, 0.7, 3.0])
def test_moments_of_a_rectified_normal(mean):
    x = mean + 1.5 * np.random.default_rng(0).standard_normal(400_000)
    found = rectified(Moments(np.array([mean]), np.array([2.25])))
    assert found.mean[0] == pytest.approx(np.maximum(x, 0).mean(), abs=0.01)
    assert found.var[0] == pytest.approx(np.maximum(x, 0).var(), abs=0.02)


def net(groups=1):
    """Pointwise convolutions, so that independent channels are all that is assumed."""
    g = Builder(seed=5)
    x = g.input(4, 6, 6)
    x = g.node("Relu", [g.batch_norm(g.conv(x, 4, 12, 1), 12)])
    y = g.node("Relu", [g.batch_norm(g.conv(x, 12, 12, 1, group=groups), 12)])
    x = g.node("Add", [x, y])
    x = g.batch_norm(g.conv(x, 12, 6, 1), 6)
    return g.model(g.conv(x, 6, 3, 1), dims=[["N", 3, 6, 6]])


@pytest.mark.parametrize("groups", [1, 3])
def test_moments_are_those_of_independent_normal_channels(groups):
    model = spa.load(net(groups))
    layers = find_layers(couple(model))
    found = analytic_moments(model, layers, model.array, lambda layer: None)
    rng = np.random.default_rng(1)
    scale, shift = model.array("scale0"), model.array("shift0")
    x = np.maximum(shift + np.abs(scale) * rng.standard_normal((200_000, 12)), 0)
    w = model.array("w1").reshape(12, -1)  # (12, 12 / groups)
    parts = x.reshape(len(x), groups, -1)
    y = np.einsum("ngi,goi->ngo", parts, w.reshape(groups, -1, w.shape[1])).reshape(len(x), 12)
    y = y + model.array("b1")
    second = next(iter(found.values()))  # of what comes in nothing is known
    np.testing.assert_allclose(second.mean, y.mean(0), atol=0.02)
    np.testing.assert_allclose(second.var, y.var(0), rtol=0.05)


def test_closed_form_statistics_need_no_inputs_and_undo_much_of_the_loss():
    proto = net()
    x = np.random.default_rng(3).standard_normal((64, 4, 6, 6)).astype(np.float32)
    model = spa.load(proto)
    # Stored statistics that are true of what the layers give.
    refreshed = spa.obspa.prune(model, ratio=0.0, calibration=x, bn_refresh=True).model
    results = {
        kind: spa.obspa.prune(refreshed, ratio=0.3, refit=False, batch_norms=kind, calibration="bn")
        for kind in ("keep", "analytic")
    }
    for kind, result in results.items():
        assert result.proof.equal
        assert result.details["calibration"] == "none"
        assert result.details["batch_norms_changed"] == (0 if kind == "keep" else 2)
    old, new = (
        initializer(results[kind].reconstructed, "var1") for kind in ("keep", "analytic")
    )  # fmt: skip
    assert not np.array_equal(old, new)
    assert (new <= old * 1.001).all()  # channels that go take variance with them
