"""The Jacobian criterion against gradients of the network in torch, member by member."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import spa
from tests.importance.test_gates import Chain, network


def test_interactions_count_within_a_member_and_members_are_summed():
    net, model, x, y = network(Chain, True)
    net.eval()
    want = np.zeros(6)
    for start in (0, 5, 10):  # mini-batches of 5, 5 and 2
        a, b = x[start : start + 5].double(), y[start : start + 5]
        weights = dict(net.named_parameters())
        found = torch.autograd.grad(F.cross_entropy(net(a), b), list(weights.values()))
        d = {n: (w * g).detach().numpy() for (n, w), g in zip(weights.items(), found, strict=True)}
        members = [
            d["a.weight"].sum((1, 2, 3)) + d["a.bias"],
            d["norm.weight"] + d["norm.bias"],
            d["b.weight"].sum((0, 2, 3)),
        ]
        want += len(b) * sum(np.square(m) for m in members) / 12
    groups = spa.find_groups(model)
    (group,) = groups.groups
    data = (x.numpy(), y.numpy())
    got = spa.score(model, groups, "jacobian", data=data, options={"batch": 5}).by_group[group.id]
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=1e-6 * want.max())
    with pytest.raises(spa.SettingError, match="at least 1; 0 was given"):
        spa.score(model, groups, "jacobian", data=data, options={"batch": 0})
