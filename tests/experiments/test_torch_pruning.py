"""Torch-Pruning as its authors run it: the same widths, the same gradients, honest refusals."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import spa
from experiments.data import load
from experiments.methods import METHODS, Job, TorchNetwork
from experiments.methods.baselines.torch_pruning import TorchPruning
from experiments.methods.baselines.torch_pruning_sparse import Regularized, pruner_of
from experiments.models.network import fresh, tensors
from spa.bridge import from_torch
from spa.errors import InfeasibleTarget, SettingError
from spa.training.hooks import Moment

library = pytest.importorskip("torch_pruning")


class Bare(Job):
    """A job with a module, and with samples that are drawn."""

    net: nn.Module
    inputs: tuple[torch.Tensor, ...]

    def module(self):
        return TorchNetwork(self.net, self.inputs)

    def labelled(self, samples):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((samples, *self.inputs[0].shape[1:])).astype(np.float32)
        return x, rng.integers(0, 10, samples)


@pytest.fixture(scope="module")
def network():
    data = load({"name": "digits"})
    return fresh("resnet8", data, 0)[0].eval(), tensors(data)


def asked(tmp_path, network, **target):
    net, inputs = network
    onnx.save(from_torch(net, inputs), tmp_path / "dense.onnx")
    job = Bare(tmp_path / "dense.onnx", spa.Target(**target))
    object.__setattr__(job, "net", net)
    object.__setattr__(job, "inputs", inputs)
    return job


def widths(net_or_model):
    if isinstance(net_or_model, onnx.ModelProto):
        return {t.name: tuple(t.dims) for t in net_or_model.graph.initializer if len(t.dims) > 1}
    return {name: tuple(p.shape) for name, p in net_or_model.named_parameters() if p.ndim > 1}


def test_the_loop_is_that_of_the_authors_script(tmp_path, network):
    """Written again with nothing but the package: the same channels stay in every layer."""
    how = TorchPruning(importance="l2", iterative_steps=50)
    made = METHODS.get("torch_pruning")(asked(tmp_path, network, rf=2.0), how)
    net, inputs = copy.deepcopy(network[0]), network[1][0][:1]
    pruner = library.pruner.MagnitudePruner(
        net, inputs, importance=library.importance.MagnitudeImportance(p=2),
        global_pruning=True, iterative_steps=50, pruning_ratio=1.0,
        ignored_layers=[m for m in net.modules() if getattr(m, "out_features", 0) == 10],
        num_heads={}, in_channel_groups={}, out_channel_groups={},
    )  # fmt: skip
    base, _ = library.utils.count_ops_and_params(net, inputs)
    for _ in range(made.details["steps"]):
        assert base / library.utils.count_ops_and_params(net, inputs)[0] < 2.02
        pruner.step()
    assert widths(made.model) == widths(net)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in made.model.graph.initializer}
    for name, value in net.named_parameters():
        np.testing.assert_array_equal(weights[name], value.detach().numpy())
    dense, pruned = (spa.measure_cost(spa.load(m)).macs
                     for m in (tmp_path / "dense.onnx", made.model))  # fmt: skip
    assert 2.0 <= dense / pruned < 2.3


@pytest.mark.parametrize("importance", ["l1", "taylor", "group_norm"])
def test_a_share_of_every_layer_goes_in_the_steps_that_are_asked_for(tmp_path, network, importance):
    sparse = {"sparse_epochs": 0} if importance == "group_norm" else {}
    how = TorchPruning(importance, global_pruning=False, iterative_steps=4, **sparse)
    made = METHODS.get("torch_pruning")(asked(tmp_path, network, ratio=0.5), how)
    dense, pruned = widths(network[0]), widths(made.model)
    assert {dense[name][0] / shape[0] for name, shape in pruned.items() if shape[0] != 10} == {2.0}


def test_sparse_learning_adds_what_the_package_does(network):
    """Brute force on two layers: reg 16^((max - n) / (max - min)) w, n the root of the group's."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(),
                        nn.Linear(20, 10))  # fmt: skip
    hook = Regularized(reg=0.1, shapes=[[1, 3, 6, 6]], dtypes=["float32"])
    at = Moment(net, 1, 1)
    hook.begin(at)
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    hook.gradients(at)
    rows, columns = net[0].weight.detach(), net[2].weight.detach()
    size = (rows.square().sum((1, 2, 3)) + columns.square().sum((0, 2, 3))) / 2
    norm = (size / size.max()).sqrt()
    gamma = 16 ** ((norm.max() - norm) / (norm.max() - norm.min()))
    torch.testing.assert_close(net[0].weight.grad, 0.1 * gamma.view(-1, 1, 1, 1) * rows)
    # The second layer's rows are another group, whose gradients are added to the columns'.
    mine = 0.1 * gamma.view(1, -1, 1, 1) * columns
    others = net[2].weight.grad - mine
    shares = (others / (0.1 * columns)).flatten(1)
    assert torch.allclose(shares, shares[:, :1].expand_as(shares), rtol=1e-3)
    assert not net[4].bias.grad.any()


def test_pruners_do_not_write_into_one_another(network):
    """The package keeps its defaults in dicts that all pruners share."""
    grouped = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 2, 1))
    inputs = (torch.zeros(1, 4, 8, 8),)
    made = [
        pruner_of(copy.deepcopy(grouped), inputs, library.pruner.BasePruner,
                  library.importance.GroupMagnitudeImportance())
        for _ in range(2)
    ]  # fmt: skip
    assert [len(each.out_channel_groups) for each in made] == [1, 1]


def test_what_cannot_be_is_said(tmp_path, network):
    how = TorchPruning(iterative_steps=3)
    with pytest.raises(InfeasibleTarget, match=r"rf 1e\+06 is out of reach: after 3 steps, in whi"):
        METHODS.get("torch_pruning")(asked(tmp_path, network, rf=1e6), how)
    with pytest.raises(SettingError, match="reg is of importance=group_norm, but importance=l1 is"):
        METHODS.get("torch_pruning")(asked(tmp_path, network, rf=2.0), TorchPruning(reg=1.0))
    with pytest.raises(SettingError, match="there is no data to train"):
        METHODS.get("torch_pruning")(asked(tmp_path, network, rf=2.0), TorchPruning("group_norm"))
