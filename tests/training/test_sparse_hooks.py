"""Hooks that make coupled sets small: what they add to gradients, against loops over members."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

import spa
from spa.bridge import to_torch
from spa.training.feed import Feed
from spa.training.hooks import HookSpec, Moment, made
from spa.training.how import Training
from spa.training.loop import fit
from tests.graphs import Builder, classifier
from tests.training.test_hooks import BATCH, feed


def grouped():
    """A grouped convolution, and a flatten: sets that hold several indices of an axis."""
    g = Builder(17)
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 8, 8), 3, 8, stride=2), 8)])
    x = g.node("Relu", [g.conv(x, 8, 8, group=4, stride=2)])
    return g.model(g.gemm(g.node("Flatten", [x]), 32, 5))


NETS = {"residual": classifier, "grouped": grouped}


def added(proto: onnx.ModelProto, spec: HookSpec, rate: float = 0.01):
    """What a hook adds to gradients, by a step of plain SGD; weights before it; the groups."""
    groups, weights = spa.find_groups(spa.load(proto)), []
    one = Feed(lambda number: list(feed().epoch(number))[:1], lambda e, s: rate, 1, 1, BATCH)
    for specs in ((), (spec,)):
        net = to_torch(proto)
        before = {key: value.detach().clone() for key, value in net.weights.items()}
        how = Training(momentum=0.0)
        fit(net, one, how, report=lambda row: None, hooks=specs, groups=groups)
        weights.append({key: value.detach() for key, value in net.weights.items()})
    plain, with_it = weights
    gaps = {key: (plain[key] - with_it[key]).numpy() / rate for key in before}
    return gaps, {key: value.numpy() for key, value in before.items()}, groups


def slices(groups, weights):
    """Every group's channels: for each, (name, index into the array) of all that belongs to it."""
    for group in groups:
        yield (
            group,
            [
                [
                    (member.name, (slice(None),) * member.axis.axis + (int(i),))
                    for member in group.members
                    if member.name in weights
                    for i in np.ravel(member.indices[k])
                ]
                for k in range(group.channels)
            ],
        )


@pytest.mark.parametrize("lasso", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_group_sparsity_adds_its_gradient(net, lasso):
    strength, alpha = 0.5, 3.0
    spec = HookSpec("group_sparsity", {"strength": strength, "alpha": alpha, "lasso": lasso})
    gaps, weights, groups = added(NETS[net](), spec)
    want = {key: np.zeros_like(value) for key, value in weights.items()}
    several = False
    for _, channels in slices(groups, weights):
        norms = [np.sqrt(sum((weights[n][at] ** 2).sum() for n, at in c)) for c in channels]
        for norm, channel in zip(norms, channels, strict=True):
            gamma = 2 ** (alpha * (max(norms) - norm) / (max(norms) - min(norms)))
            for name, at in channel:
                want[name][at] += strength * gamma * weights[name][at] / (norm if lasso else 1)
            several |= len(channel) > len({name for name, _ in channel})
    assert several == (net == "grouped")
    for key, value in want.items():
        np.testing.assert_allclose(gaps[key], value, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("lasso", [False, True])
def test_sets_that_are_all_alike_are_pulled_alike(lasso):
    """In the authors' code 0 / 0, where groups are left out."""
    proto = classifier()
    for weight in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array(np.full_like(array, 0.5), weight.name))
    gaps, weights, groups = added(proto, HookSpec("group_sparsity", {"lasso": lasso}))
    touched = {member.name for group in groups for member in group.members} & weights.keys()
    assert touched
    assert all((gaps[name] > 0).any() and np.isfinite(gaps[name]).all() for name in touched)


def test_a_set_that_is_zero_stays_zero():
    net, proto = to_torch(classifier()), classifier()
    groups = spa.find_groups(spa.load(proto))
    with torch.no_grad():
        for weight in net.weights.values():
            weight.zero_()
    (sparse,) = made([HookSpec("group_sparsity", {"lasso": True})])
    sparse.penalty(Moment(net, 1, 1, groups=groups)).backward()
    grads = [weight.grad for weight in net.weights.values() if weight.grad is not None]
    assert grads
    assert all(not grad.any() for grad in grads)


@pytest.mark.parametrize("net", NETS)
def test_growing_pulls_what_was_chosen_and_nothing_else(net):
    proto = NETS[net]()
    chosen = {"0": [1], "1": [0]}
    settings = {"chosen": chosen, "ceiling": 0.5, "delta": 0.25}
    gaps, weights, groups = added(proto, HookSpec("growing", settings))
    gone = {key: np.zeros(value.shape, bool) for key, value in weights.items()}
    for group, channels in slices(groups, weights):
        for k in chosen.get(str(group.id), ()):
            for name, at in channels[k]:
                gone[name][at] = True
    assert any(mask.any() for mask in gone.values())
    for key, mask in gone.items():
        np.testing.assert_allclose(gaps[key], 0.25 * mask * weights[key], rtol=1e-3, atol=2e-4)


def test_growing_chooses_the_smallest_sets():
    net, proto = to_torch(classifier()), classifier()
    at = Moment(net, 1, 1, groups=spa.find_groups(spa.load(proto)))
    (growing,) = made([HookSpec("growing", {"share": 0.25})])
    growing.begin(at)
    for number, norms in at.norms().items():
        sizes = norms.detach().numpy()
        count = int(0.25 * len(sizes))
        assert growing.chosen[number] == sorted(np.argsort(sizes)[:count].tolist())


def test_growing_grows_to_its_ceiling():
    def pulls(**settings):
        (it,) = made([HookSpec("growing", settings)])
        at = Moment(torch.nn.Identity(), 10, 10)
        found = []
        for at.epoch in range(10):
            for at.step in range(10):
                found.append(it.pull(at))
        return found

    assert pulls(every=10, delta=0.3) == pytest.approx(
        [0.3] * 10 + [0.6] * 10 + [0.9] * 10 + [1] * 70
    )
    own = pulls(ceiling=2.0)
    assert own[:6] == pytest.approx([0.125] * 5 + [0.25])
    assert own[74] < 2 == own[75] == own[-1]


@pytest.mark.parametrize("chosen", [{"99": [0]}, {"0": [0, 99]}, {"0": [-1]}])
def test_growing_is_told_of_channels_that_are_there(chosen):
    net, proto = to_torch(classifier()), classifier()
    (growing,) = made([HookSpec("growing", {"chosen": chosen})])
    with pytest.raises(spa.SettingError, match="Growing: .*, and there is no such"):
        growing.begin(Moment(net, 1, 1, groups=spa.find_groups(spa.load(proto))))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("growing", {"share": 1.0}, r"share is in \[0, 1\); 1"),
        ("growing", {"every": 0}, "every is 1 step or more; 0"),
        ("growing", {"delta": 0.0}, "delta is above 0 and finite; 0"),
        ("group_sparsity", {"strength": 0.0}, "strength is above 0 and finite; 0"),
        ("group_sparsity", {"alpha": -1.0}, "alpha is 0 or more; -1"),
    ],
)
def test_what_has_no_meaning_is_refused(name, settings, said):
    with pytest.raises(spa.SettingError, match=said):
        made([HookSpec(name, settings)])
