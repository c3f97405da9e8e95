"""Norms and distances of weights: by hand, and against Torch-Pruning where definitions coincide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import spa
from spa.bridge import from_torch
from spa.importance.aggregate import NORMALIZATIONS
from spa.importance.criteria.magnitude import fpgm
from tests.graphs import Builder, initializer


def chain() -> tuple[spa.Model, dict[str, np.ndarray]]:
    """Convolution with bias, batch norm, convolution; and its arrays in double precision."""
    g = Builder()
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 6, 6), 3, 8), 8)])
    proto = g.model(g.conv(x, 8, 5))
    names = {"w": "w0", "b": "b0", "gamma": "scale0", "beta": "shift0", "next": "w1"}
    stored = {t.name for t in proto.graph.initializer}
    norm = next(n for n in proto.graph.node if n.op_type == "BatchNormalization")
    names |= {"gamma": norm.input[1], "beta": norm.input[2]}
    assert set(names.values()) <= stored
    return spa.load(proto), {k: initializer(proto, v).astype(float) for k, v in names.items()}


def scores_of(model: spa.Model, criterion: str, **settings) -> np.ndarray:
    found = spa.score(model, spa.find_groups(model), criterion, **settings).by_group
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0])
def test_group_norm_is_the_mean_of_powers_without_shifts(p):
    model, a = chain()
    rows = [(np.abs(a["w"]) ** p).sum((1, 2, 3)), np.abs(a["gamma"]) ** p,
            (np.abs(a["next"]) ** p).sum((0, 2, 3))]  # fmt: skip
    want = np.mean(rows, axis=0)
    got = scores_of(model, "group_norm", options={"p": p})
    np.testing.assert_allclose(got, want / want.mean(), rtol=1e-6)
    got = scores_of(model, "group_norm", options={"p": p}, aggregate="max", normalize="none")
    np.testing.assert_allclose(got, np.max(rows, axis=0), rtol=1e-6)


def test_lamp_by_hand():
    values = np.array([4.0, 1.0, 3.0, 1.0])
    # In order: 1 (the first), 1 (the second), 3, 4.
    want = [4 / 4, 1 / 9, 3 / 7, 1 / 8]
    np.testing.assert_allclose(NORMALIZATIONS["lamp"](values), want)
    np.testing.assert_allclose(NORMALIZATIONS["lamp"](np.array([0.0, 2.0, 0.0])), [0, 1, 0])
    with pytest.raises(spa.SettingError, match=r"-1 was given\. Use another"):
        NORMALIZATIONS["lamp"](np.array([1.0, -1.0]))
    model, a = chain()
    squares = scores_of(model, "group_norm", normalize="none")
    got = scores_of(model, "lamp")
    larger = np.array([squares[squares >= v].sum() for v in squares])
    np.testing.assert_allclose(got, squares / larger, rtol=1e-6)
    assert got.max() == 1.0


def test_lamp_does_not_empty_a_layer_of_small_numbers():
    """A global ranking by plain squares takes all of it first."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 6, 6), 3, 8, weight=_small(g, 8, 3), bias=False)])
    x = g.node("Relu", [g.conv(x, 8, 12, weight=_small(g, 12, 8), bias=False)])
    x = g.node("Relu", [g.conv(x, 12, 16)])
    proto = g.model(g.conv(x, 16, 5))
    limits = spa.Limits(max_ratio=1.0)

    def left(criterion, **settings):
        plan = spa.prune(proto, criterion=criterion, ratio=0.5, limits=limits, **settings).plan
        return [group.channels - len(group.removed) for group in plan.groups]

    assert left("l2", normalize="none")[0] == 1
    assert min(left("lamp")) > 1


def _small(g: Builder, *sizes: int) -> str:
    return g.weight(1e-3 * g.rng.standard_normal((*sizes, 3, 3)).astype(np.float32), "small")


def test_fpgm_is_the_sum_of_distances_of_concatenated_slices(monkeypatch):
    model, a = chain()
    parts = [a["w"].reshape(8, -1), a["gamma"][:, None],
             np.moveaxis(a["next"], 1, 0).reshape(8, -1)]  # fmt: skip
    scaled = [p / np.sqrt(np.square(p).sum(1).mean()) for p in parts]
    long = np.concatenate(scaled, axis=1)
    want = np.linalg.norm(long[:, None] - long, axis=2).sum(1)
    np.testing.assert_allclose(scores_of(model, "fpgm", normalize="none"), want, rtol=1e-6)
    monkeypatch.setattr(fpgm, "BLOCK", 3)
    np.testing.assert_allclose(scores_of(model, "fpgm", normalize="none"), want, rtol=1e-6)


def test_fpgm_measures_weights_and_not_their_squares():
    """Of w and -w the squares coincide; their distance is twice their length."""
    w1 = np.array([[1.0, -1.0, 3.0]], np.float32)
    g = Builder()
    h = g.node("MatMul", [g.input(1), g.weight(w1)])
    flat = g.weight(np.zeros((3, 2), np.float32))  # what has no size adds no distance
    model = spa.load(g.model(g.node("MatMul", [h, flat])))
    scale = np.sqrt(np.square(w1).mean())
    want = np.array([2 + 2, 2 + 4, 2 + 4]) / scale
    np.testing.assert_allclose(scores_of(model, "fpgm", normalize="none"), want, rtol=1e-6)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.body(x))


PEERS = {
    "l1": ("GroupMagnitudeImportance", {"p": 1, "group_reduction": "sum", "bias": True}),
    "l2": ("GroupMagnitudeImportance", {"p": 2, "group_reduction": "sum", "bias": True}),
    "group_norm": ("GroupMagnitudeImportance", {"p": 2}),
    "lamp": ("LAMPImportance", {}),
}


@pytest.mark.parametrize("criterion", PEERS)
def test_torch_pruning_gives_the_same(criterion):
    tp = pytest.importorskip("torch_pruning")
    torch.manual_seed(1)
    net, x = Plain().eval(), torch.randn(2, 3, 8, 8)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    model = spa.load(from_torch(net, x))
    groups = spa.find_groups(model)
    ours = spa.score(model, groups, criterion).by_group
    kind, settings = PEERS[criterion]
    importance = getattr(tp.importance, kind)(**settings)
    graph = tp.DependencyGraph().build_dependency(net, x)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(ours) == len(layers)
    for values, layer in zip(ours.values(), layers, strict=True):
        every = list(range(layer.out_channels))
        theirs = importance(graph.get_pruning_group(layer, tp.prune_conv_out_channels, every))
        np.testing.assert_allclose(values, theirs.detach().numpy(), rtol=1e-4)
        np.testing.assert_array_equal(np.argsort(values), np.argsort(theirs.detach().numpy()))
