"""What only training mode runs follows with the rest, or a note names it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import spa
from spa.errors import BridgeError
from spa.modules import rebuild
from spa.modules.slicing import cut_tensors
from spa.modules.training_mode import (
    asks_for_training,
    fails_to_train,
    parts_of,
    quiet_training,
)
from spa.pruning.plan import Removal

LOCAL = spa.Limits(scope="local")


class Auxiliary(nn.Module):
    """Two heads of its own for training: as in GoogLeNet, one with a norm, groups and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.head = nn.Linear(24, 5)
        self.first = nn.Sequential(
            nn.Conv2d(16, 32, 3, padding=1, groups=16),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(32, 5),
        )
        self.second = nn.Linear(24, 5, bias=False)

    def forward(self, x):
        x = torch.relu(self.a(x))
        y = torch.relu(self.b(x)).mean((2, 3))
        if not self.training:
            return self.head(y)
        return self.head(y), self.first(x), {"second": self.second(y)}


class Hidden(nn.Module):
    """A size that is written in what only training mode runs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.extra = nn.Linear(6, 16), nn.Linear(16, 4), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        if self.training:
            return self.b(x), self.extra(x.view(-1, 2, 8))
        return self.b(x)


class OtherNumbers(nn.Module):
    """A number that only training mode reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.width = nn.Linear(6, 16), nn.Linear(16, 4), 16

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.b(x * (x.shape[-1] / self.width) if self.training else x)


class Targets(nn.Module):
    """Training mode takes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.extra = nn.Linear(6, 16), nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x, targets=None):
        x = torch.relu(self.a(x))
        if self.training:
            return (self.extra(x) - targets).square().mean()
        return self.b(x)


def pruned(net, x):
    torch.manual_seed(0)
    return spa.prune(net.eval(), inputs=x, ratio=0.5, limits=LOCAL)


def test_auxiliary_heads_shrink_with_the_rest_and_train():
    x = torch.randn(4, 3, 8, 8)
    result = pruned(Auxiliary(), x)
    assert type(result.module) is Auxiliary
    assert result.plan.notes == ()
    net = result.module
    first, norm = net.first[0], net.first[1]
    assert (first.in_channels, first.out_channels, first.groups) == (8, 16, 8)
    assert norm.num_features == net.first[6].in_features == 16
    assert net.second.in_features == 12
    net.train()
    y, one, other = net(x)
    (y.sum() + one.sum() + other["second"].sum()).backward()
    assert all(p.grad is not None for p in net.parameters())
    again = rebuild(Auxiliary(), json.loads(json.dumps(result.plan.to_json())))
    again.load_state_dict(net.state_dict())
    with torch.no_grad(), quiet_training(net), quiet_training(again):
        for a, b in zip(net(x)[:2], again(x)[:2], strict=True):
            assert torch.equal(a, b)


def test_an_auxiliary_head_keeps_the_channels_that_its_input_keeps():
    torch.manual_seed(0)
    net = Auxiliary()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():  # what goes is what says nothing, so nothing changes
        for layer in (net.a, net.b):
            layer.weight[::2] *= 1e-9
            layer.bias[::2] = 0
    result = pruned(net, x)
    with torch.no_grad(), quiet_training(net), quiet_training(result.module):
        wanted, found = net(x), result.module(x)
        torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(found[2]["second"], wanted[2]["second"], rtol=0, atol=1e-5)


def test_what_cannot_follow_in_training_mode_is_named():
    x = torch.randn(4, 6)
    result = pruned(Hidden(), x)
    assert type(result.module) is Hidden
    assert any(note.startswith("`extra`: eval mode does not use it") for note in result.plan.notes)


def test_numbers_that_only_training_mode_reads_follow():
    result = pruned(OtherNumbers(), torch.randn(4, 6))
    assert result.module.width == 8
    assert result.plan.module["attributes"] == {"width": 8}


def test_a_training_mode_that_does_not_run_on_the_example_is_said_to_be_unknown():
    result = pruned(Targets(), torch.randn(4, 6))
    assert type(result.module) is Targets
    (note,) = result.plan.notes
    assert note.startswith("`extra`: eval mode does not use it")
    assert "does not run in training mode" in note


def test_classes_that_never_ask_for_the_mode_do_the_same_in_both():
    class Wrapped(nn.Sequential):
        def forward(self, x):
            return [super(Wrapped, self).forward(part) for part in x if self.training]

    class Named(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if getattr(self, "training", False) else x

    assert asks_for_training(nn.Sequential(Auxiliary()))
    assert asks_for_training(Wrapped())
    assert asks_for_training(Named())
    assert not asks_for_training(nn.Sequential(nn.BatchNorm2d(4), nn.Dropout()))


def test_nothing_of_a_training_step_is_left():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    before = net[1].running_mean.clone()
    assert fails_to_train(net.eval(), (torch.randn(3, 4),)) == ""
    assert "more than 1 value" in fails_to_train(net, (torch.randn(1, 4),))
    assert torch.equal(net[1].running_mean, before)
    assert net[0].weight.grad is None
    assert not net.training
    with quiet_training(net):
        assert net.training
        assert not net[1].training


def test_whole_submodules_are_named_before_their_parameters():
    net = Auxiliary()
    names = {n for n, _ in net.named_parameters() if n.startswith(("first.", "second.", "b.bias"))}
    assert parts_of(net, names) == ["b.bias", "first", "second"]


def test_one_parameter_is_not_cut_in_two_ways():
    net = nn.PReLU(8)
    twice = [Removal("weight", 0, 8, (0, 1), ((0, 1),)), Removal("weight", 0, 8, (0, 2), ((1, 1),))]
    with pytest.raises(BridgeError, match='"weight" is one parameter'):
        cut_tensors(net, twice)
    cut_tensors(net, [twice[0], twice[0]])
    assert net.weight.shape == (6,)


def test_the_training_step_takes_more_than_one_sample_whatever_the_example_has():
    """Batch norm over one value fails, and says nothing."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Linear(6, 16), nn.BatchNorm1d(16)
            self.b, self.width = nn.Linear(16, 4), 16

        def forward(self, x):
            x = self.norm(self.a(x)).relu()
            if torch.is_grad_enabled() and self.norm.training:
                x = x.view(-1, self.width)
            return self.b(x)

    result = pruned(Pooled(), torch.randn(1, 6))
    assert type(result.module) is Pooled
    (note,) = result.plan.notes
    assert note.startswith("In training mode the module does not run")
