"""Derivatives by a channel's gate, against gates that are really there.

The networks are written in torch with a gate on every read of a channel (what `spa` never sees),
and as ONNX files without any. Both are differentiated in double precision.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import spa
from spa.bridge import from_torch
from spa.importance.view import View
from spa.observe.data import data_for

WIDTH = 6
CLASSES = 5


def gated(y: torch.Tensor, gate: torch.Tensor | None) -> torch.Tensor:
    """y: (N, C, H, W)   gate: (C, 1, 1)"""
    return y if gate is None else y * gate


class Chain(nn.Module):
    def __init__(self, norms: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, WIDTH, 3), nn.Conv2d(WIDTH, CLASSES, 3)
        self.norm = nn.BatchNorm2d(WIDTH) if norms else nn.Identity()

    def forward(self, x, gate=None):
        y = F.relu(self.norm(self.a(x)))
        return self.b(gated(y, gate)).mean((2, 3))


class Residual(nn.Module):
    """Both blocks' outputs and the stem's are one coupled set; three consumers read it."""

    def __init__(self, norms: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if norms else (lambda _: nn.Identity())
        self.stem, self.stem_norm = nn.Conv2d(3, WIDTH, 3, padding=1), norm(WIDTH)
        self.inner = nn.ModuleList(nn.Conv2d(WIDTH, 4, 3, padding=1) for _ in range(2))
        self.outer = nn.ModuleList(nn.Conv2d(4, WIDTH, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(norm(WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x, gate=None):
        y = F.relu(self.stem_norm(self.stem(x)))
        for inner, outer, norm in zip(self.inner, self.outer, self.norms, strict=True):
            y = F.relu(y + norm(outer(F.relu(inner(gated(y, gate))))))
        return self.head(gated(y, gate).mean((2, 3)))


class Joined(nn.Module):
    """One branch goes through a concatenation, and to a consumer of its own."""

    def __init__(self, norms: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, WIDTH, 3), nn.Conv2d(3, 7, 3)
        self.norm = nn.BatchNorm2d(WIDTH) if norms else nn.Identity()
        self.both, self.own = nn.Conv2d(WIDTH + 7, CLASSES, 1), nn.Conv2d(WIDTH, CLASSES, 3)

    def forward(self, x, gate=None):
        y = gated(F.relu(self.norm(self.a(x))), gate)
        joined = torch.cat([F.relu(self.b(x)), y], 1)
        return self.both(joined).mean((2, 3)) + self.own(y).mean((2, 3))


class Mlp(nn.Module):
    """A transformer's: GELU lets no scale through, so the consumer's columns alone are a cut."""

    def __init__(self, norms: bool) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 8, 2, 2), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x, gate=None):
        y = self.patches(x).flatten(2).transpose(1, 2)
        hidden = F.gelu(self.up(self.norm(y)))
        y = y + self.down(hidden if gate is None else hidden * gate.flatten())
        return self.head(y.mean(1))


# Network, its parameter whose axis 0 makes the channels, with norms, cuts that it has.
CASES = [
    (Chain, "a.weight", True, ("consumers", "norms")),
    (Chain, "a.weight", False, ("consumers", "producers")),
    (Residual, "stem.weight", True, ("consumers", "norms")),
    (Residual, "stem.weight", False, ("consumers", "producers")),
    (Joined, "a.weight", True, ("consumers", "norms")),
    (Joined, "a.weight", False, ("consumers", "producers")),
    (Mlp, "up.bias", True, ("consumers",)),
]
EVERY = [
    pytest.param(make, name, norms, cut, way, id=f"{make.__name__}-{cut}-{way}-{norms}")
    for make, name, norms, cuts in CASES
    for cut in cuts
    for way in ("batch", "stored")
]  # fmt: skip


@functools.cache
def network(make: type[nn.Module], norms: bool):
    """A network, its ONNX form, and samples."""
    torch.manual_seed(3)
    net = make(norms)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.5), (module.running_var, 0.5)):
                nn.init.uniform_(tensor, low, low + 1)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
    net.eval()
    x, y = torch.randn(12, 3, 8, 8), torch.arange(12) % CLASSES
    model = spa.load(from_torch(net, x[:2], exporters=("torchscript",)))
    return net.double(), model, x, y


def explicit(net: nn.Module, x, y, statistics: str) -> tuple[np.ndarray, np.ndarray]:
    """dL/dc, and d(g . g')/dc with g held still, of a gate c on every channel."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(statistics == "batch")
            module.momentum = 0.0
    gate = torch.ones(WIDTH, 1, 1, dtype=torch.double, requires_grad=True)
    loss = F.cross_entropy(net(x, gate), y)
    weights = list(net.parameters())
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    (first,) = torch.autograd.grad(loss, gate, retain_graph=True)
    product = sum((g.detach() * g).sum() for g in gradients)
    (second,) = torch.autograd.grad(product, gate)
    net.eval()
    return first.flatten().numpy(), second.flatten().numpy()


@pytest.mark.parametrize(("make", "name", "norms", "cut", "statistics"), EVERY)
def test_one_cut_gives_the_gate_s_derivatives(make, name, norms, cut, statistics):
    net, model, x, y = network(make, norms)
    first, second = explicit(net, x.double(), y, statistics)
    groups = spa.find_groups(model)
    (group,) = [g for g in groups if any(m.name == name for m in g.members)]
    data = data_for(model, (x.numpy(), y.numpy()))
    view = View(model, groups, data=data)
    found = view.differentiated(statistics=statistics, double=True)
    have = view.over_cut(found.weighted(found.mean()), cut)[group.components]
    np.testing.assert_allclose(have, first, rtol=1e-6, atol=1e-9 * np.abs(first).max())
    gradients, products = found.products()
    terms = {n: p + gradients[n] ** 2 for n, p in found.weighted(products).items()}
    have = view.over_cut(terms, cut)[group.components]
    np.testing.assert_allclose(have, second, rtol=1e-6, atol=1e-9 * np.abs(second).max())
