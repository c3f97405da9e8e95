"""CroP against gates that are really there, and the products behind it against a Hessian."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spa
from spa.importance.view import View
from spa.observe.data import data_for
from tests.importance.test_gates import Chain, Residual, explicit, network
from tests.importance.test_importance import two_layers


@pytest.mark.parametrize("statistics", ["batch", "stored"])
@pytest.mark.parametrize(("make", "first"), [(Chain, "a.weight"), (Residual, "stem.weight")])
def test_crop_is_the_size_of_the_flow_s_derivative_by_a_gate(make, first, statistics):
    net, model, x, y = network(make, True)
    want = np.abs(explicit(net, x.double(), y, statistics)[1])
    groups = spa.find_groups(model)
    scores = spa.score(
        model, groups, "crop", data=(x.numpy(), y.numpy()), options={"statistics": statistics}
    )
    (group,) = [g for g in groups if any(m.name == first for m in g.members)]
    got = scores.by_group[group.id]
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3 * want.max())


def test_products_are_those_with_an_explicit_hessian():
    rng = np.random.default_rng(1)
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 4), (4, 3)))
    x, y = rng.standard_normal((8, 4)).astype(np.float32), rng.integers(0, 3, 8)
    model = two_layers(w1, w2)
    view = View(model, spa.find_groups(model), data=data_for(model, (x, y)))
    gradients, products = view.differentiated(double=True).products()

    def loss(flat: torch.Tensor) -> torch.Tensor:
        a, b = flat[:16].reshape(4, 4), flat[16:].reshape(4, 3)
        return torch.nn.functional.cross_entropy(
            torch.from_numpy(x).double() @ a @ b, torch.from_numpy(y)
        )

    at = torch.from_numpy(np.concatenate([w1.ravel(), w2.ravel()])).double()
    hessian = torch.autograd.functional.hessian(loss, at)
    g = torch.autograd.functional.jacobian(loss, at)
    flat = [np.concatenate([d["W1"].ravel(), d["W2"].ravel()]) for d in (gradients, products)]
    np.testing.assert_allclose(flat[0], g, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(flat[1], hessian @ g, rtol=1e-6, atol=1e-12)
