"""DFPC's scores: those of the authors' explicit matrices, over a norm, a pooling and a shortcut."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import spa
from experiments.methods import METHODS, Job
from experiments.methods.baselines.dfpc import saliency
from spa.bridge import from_torch
from spa.importance.view import View


class Net(nn.Module):
    """conv, norm, pool; a shortcut around conv, conv; a mean and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = (
            nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.inner, self.inner_norm = nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.outer, self.outer_norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.pool(torch.relu(self.norm(self.first(x))))
        y = torch.relu(self.inner_norm(self.inner(x)))
        x = torch.relu(self.outer_norm(self.outer(y)) + x)
        return self.head(x.mean((2, 3)))


def matrix(call, shape):
    """|M|: what comes out for each entry of the input alone, absolute; (outputs, inputs)."""
    size = int(np.prod(shape))
    with torch.no_grad():
        outputs = call(torch.eye(size).reshape(size, *shape)) - call(torch.zeros(1, *shape))
    return outputs.flatten(1).T.abs().numpy()


def through(norm, positions):
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs().detach().numpy()
    return np.diag(np.repeat(factor, positions))


def by_channel(reads, makes, channels):
    """The formula: of channel k's block, the sum of all entries of |M_B| D |M_A|."""
    each = reads.shape[1] // channels
    blocks = (slice(k * each, (k + 1) * each) for k in range(channels))
    return np.array([(reads[:, block] @ makes[block]).sum() for block in blocks])


def test_scores_are_those_of_the_matrices():
    torch.manual_seed(0)
    net = Net().eval()
    for part in (net.norm, net.inner_norm, net.outer_norm):
        part.weight.data.uniform_(-2, 2)
        part.running_var.uniform_(0.5, 2)
    first, inner, outer = (2, 12, 12), (4, 3, 3), (3, 3, 3)
    pooled = torch.full((4, 1, 3, 3), 1 / 9)
    pool = matrix(
        lambda x: nn.functional.conv2d(x, pooled, stride=2, padding=1, groups=4), (4, 6, 6)
    )
    one = pool @ through(net.norm, 36) @ matrix(net.first, first)
    two = through(net.outer_norm, 9) @ matrix(net.outer, outer)
    head = matrix(lambda x: net.head(x.mean((2, 3))), inner)
    shortcut = by_channel(matrix(net.inner, inner), one, 4)
    shortcut += by_channel(head, one, 4) + by_channel(head, two, 4)  # not inner after outer
    within = by_channel(
        matrix(net.outer, outer), through(net.inner_norm, 9) @ matrix(net.inner, inner), 3
    )
    model = spa.load(from_torch(net, (torch.zeros(2, *first),)))
    groups = spa.find_groups(model)
    found = saliency(View(model, groups)).of
    scores = {group.channels: found[group.components] for group in groups.groups}
    np.testing.assert_allclose(scores[4], shortcut, rtol=1e-4)
    np.testing.assert_allclose(scores[3], within, rtol=1e-4)


def test_the_smallest_scores_of_the_whole_network_go_first(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "m.onnx"
    onnx.save(from_torch(Net().eval(), (torch.zeros(2, 2, 12, 12),)), path)
    job = Job(path, spa.Target(ratio=0.3), limits=spa.Limits(max_ratio=0.7))
    made = METHODS.get("dfpc")(job)
    assert made.proof.equal
    model = spa.load(path)
    groups = spa.find_groups(model)
    found = saliency(View(model, groups)).of
    plans = zip(groups.groups, made.plan.groups, strict=True)
    gone = np.concatenate([group.components[list(plan.removed)] for group, plan in plans])
    free = np.concatenate([group.components for group in groups.groups])
    assert gone.size > 1
    assert set(gone) == set(free[np.argsort(found[free])[: gone.size]])


@pytest.mark.parametrize("name", ["mobilenet_v2", "vit_p4_192", "vgg_small"])
def test_networks_with_depthwise_layers_and_attention_have_finite_scores(name):
    from experiments.data import load
    from experiments.models.network import fresh

    model = spa.load(fresh(name, load({"name": "digits"}), 0)[1])
    groups = spa.find_groups(model)
    found = saliency(View(model, groups)).of
    for group in groups.groups:
        assert np.isfinite(found[group.components]).all()
        assert (found[group.components] > 0).all()
