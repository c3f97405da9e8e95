"""One set of weights in every framework: equal outputs, equal structure, equal plans."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import spa
from experiments.models import MODELS, builder, builders
from experiments.models.ported import port
from spa.bridge import to_torch
from spa.frameworks import Source, framework
from spa.graph.execute import run
from spa.importance.score import Scores
from spa.importance.shifts import without_shifts

SHAPE, CLASSES = (3, 32, 32), 10
OTHERS = ("tensorflow", "jax", "mxnet")
SHORT = ("resnet8", "mobilenet_v2")
PAIRS = [
    pytest.param(name, kind, marks=pytest.mark.slow if name in SHORT else pytest.mark.long)
    for kind in OTHERS
    for name in sorted(builders(kind))
]


def network(name, neutral=False):
    """The PyTorch network, with random norms or with ones that do nothing."""
    torch.manual_seed(0)
    net = MODELS.get(name)(SHAPE, CLASSES)
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            if not neutral:
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(-0.3, 0.3)
        # Statistics near the true ones, or the signals of a deep network die out.
        net.train()(torch.randn(16, *SHAPE))
        for norm in norms:
            if neutral:
                norm.running_mean.zero_()
                norm.running_var.fill_(1 - norm.eps)
            else:
                norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.2))
    return net.eval()


@pytest.fixture(scope="session")
def ported(installed, tmp_path_factory):
    """Builds a network in a framework with given weights; its outputs for `pictures`, and ONNX."""

    @cache
    def make(name, kind, neutral=False):
        if kind != "pytorch":
            installed(kind)
        it, folder = framework(kind), tmp_path_factory.mktemp("ported")
        model = folder / f"net{it.suffix}"
        weights = port(network(name, neutral), kind, folder / "weights.npz")
        it.build(Source(builder(kind, name), {"classes": CLASSES}), model, SHAPE, 1, weights)
        return it.predict(model, pictures()), it.export(model, [SHAPE], channels_first=True)

    return make


def pictures():
    return np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)


def outputs(proto):
    return run(proto, {proto.graph.input[0].name: pictures()})[0]


def agree(have, want):
    assert np.abs(have - want).max() <= 1e-4 * np.abs(want).max()


def structure(proto):
    """Of every group, its channels, its weights, and whether it is exact; sorted."""
    model = spa.load(proto)
    groups = spa.find_groups(model)
    return sorted((*form(group, model), group.exact) for group in groups)


def form(group, model):
    """Its channels, and how many entries of kernels and matrices go with each.

    That is the same however they are spelt: norms may be nodes, arithmetic, or in the weights, so
    vectors say nothing, nor do biases, which Keras has by head and column; and three projections
    may be one.
    """
    multiplied = without_shifts(model)
    shapes = [(model.array(m.name).shape, m) for m in group.members if multiplied(group, m)]
    entries = [
        m.indices.shape[1] * np.prod(shape) // shape[m.axis.axis]
        for shape, m in shapes
        if sum(size > 1 for size in shape) > 1
    ]
    return group.channels, int(sum(entries))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_network_is_the_same_as_in_pytorch(ported, name, kind):
    with torch.no_grad():
        want = network(name)(torch.from_numpy(pictures())).numpy()
    assert np.ptp(want, axis=0).max() > 1e-3 * np.abs(want).max()  # it does not ignore its input
    predicted, proto = ported(name, kind)
    agree(predicted, want)
    agree(outputs(proto), want)
    assert structure(proto) == structure(ported(name, "pytorch")[1])
    proof = spa.prune(proto, ratio=0.5).proof
    assert any(check.startswith("equals the zeroed dense model") for check in proof.checks)
    assert proof.equal == all(exact for _, _, exact in structure(proto))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_bridge_trains_every_weight_of_an_export(ported, name, kind):
    _, proto = ported(name, kind)
    net = to_torch(proto)
    result = net(torch.from_numpy(pictures()))
    agree(result.detach().numpy(), outputs(proto))
    (
        result * torch.randn(result.shape, generator=torch.Generator().manual_seed(0))
    ).sum().backward()
    trained = {name for name, weight in net.weights.items() if weight.grad.abs().max() > 0}
    arrays = {t.name for t in proto.graph.initializer if t.data_type == 1 and len(t.dims) > 1}
    assert arrays <= trained
    # A norm may be in a kernel and its bias, so less than a tenth may be missing.
    whole = sum(parameter.numel() for parameter in network(name).parameters())
    assert sum(net.weights[name].numel() for name in trained) > 0.9 * whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_equal_weights_give_an_equal_plan(ported, kind):
    """Norms that do nothing, as they are in the weights or apart from them."""
    removed = []
    for where in ("pytorch", kind):
        model = spa.load(ported("resnet8", where, neutral=True)[1])
        groups = spa.find_groups(model)
        target, limits = spa.Target(ratio=0.5), spa.Limits(scope="local")
        plan = spa.make_plan(groups, spa.score(model, groups, "l1"), target, limits)
        # Groups may come in another order.
        removed.append(sorted((group.channels, group.removed) for group in plan.groups))
    assert removed[0] == removed[1]
    assert all(gone for _, gone in removed[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_one_plan_gives_equal_networks(ported, kind):
    """Scores from without, so that every framework's file loses the same channels."""
    pruned = []
    for where in ("pytorch", kind):
        proto = ported("resnet8", where)[1]
        model = spa.load(proto)
        groups = spa.find_groups(model)
        forms = [form(group, model) for group in groups]
        assert len(set(forms)) == len(forms)  # so that a group is known by it
        drawn = [np.random.default_rng(form).random(form[0]) for form in forms]
        scores = Scores("drawn", "mean", "none", dict(enumerate(drawn)))
        plan = spa.make_plan(groups, scores, spa.Target(ratio=0.5), spa.Limits(scope="local"))
        pruned.append(outputs(spa.apply_plan(model, plan, groups)))
    agree(pruned[1], pruned[0])
