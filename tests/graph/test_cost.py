"""Parameters and MACs, by hand and against torch-pruning's counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import spa
from tests.graphs import STORAGES, Builder, classifier, from_text


def cost(proto) -> tuple[int, int]:
    measured = spa.measure_cost(spa.load(proto))
    return measured.params, measured.macs


@pytest.mark.parametrize("batch", ["N", 1, 5])
def test_a_convolution_by_hand(batch):
    g = Builder(batch=batch)
    proto = g.model(g.conv(g.input(3, 6, 5), 3, 8, stride=2))
    # 3 x 3 outputs of 8 channels, each over 3 x 3 x 3 inputs.
    assert cost(proto) == (8 * 27 + 8, 9 * 8 * 27)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_groups_divide(group):
    g = Builder()
    x = g.conv(g.input(4, 6, 6), 4, 8, group=group, bias=False)
    assert cost(g.model(x)) == (8 * 4 // group * 9, 36 * 8 * 4 // group * 9)


def test_a_transposed_convolution_by_hand():
    g = Builder()
    proto = g.model(g.conv_transpose(g.input(4, 3, 3), 4, 6, 2, stride=2, bias=False))
    # Every input pixel is multiplied into 2 x 2 outputs of 6 channels.
    assert cost(proto) == (4 * 6 * 4, 9 * 4 * 6 * 4)


@pytest.mark.parametrize("trans", [0, 1])
def test_linear_layers_by_hand(trans):
    g = Builder()
    x = g.node("MatMul", [g.input(9, 7), g.normal(7, 8)])
    x = g.node("Flatten", [x])
    proto = g.model(g.gemm(x, 72, 5, trans=trans))
    assert cost(proto) == (56 + 360 + 5, 9 * 56 + 360)


def test_running_statistics_and_single_numbers_are_no_parameters():
    g = Builder()
    x = g.batch_norm(g.conv(g.input(3, 4, 4), 3, 8, 1, bias=False), 8)
    params, _ = cost(g.model(g.clip(x, 0.0, 6.0)))
    assert params == 24 + 16


@pytest.mark.parametrize("storage", STORAGES)
def test_the_place_of_a_weight_costs_nothing(storage):
    assert cost(classifier(storage=storage)) == cost(classifier())


def test_a_tied_weight_counts_once_and_works_twice():
    text = """g (float[N,4,6,6] x) => (float[N,4,6,6] y) {
      a = Conv<pads=[1,1,1,1]>(x, W)
      y = Conv<pads=[1,1,1,1]>(a, W)
    }"""
    assert cost(from_text(text, {"W": (4, 4, 3, 3)})) == (144, 2 * 36 * 144)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, groups=4), nn.ReLU(),
            nn.Conv2d(16, 16, 3, groups=16), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


def test_convolutions_and_linear_layers_count_as_torch_pruning_counts_them():
    """torch-pruning adds operations for biases, batch norm and ReLU; those are taken out."""
    count = pytest.importorskip("torch_pruning").utils.count_ops_and_params
    torch.manual_seed(0)
    net, example = _Net().eval(), torch.randn(1, 3, 16, 16)
    proto = spa.load(net, example)
    measured = spa.measure_cost(proto)
    macs, params = count(net, example)
    assert measured.params == params
    batch_norm, biases = 2 * 8 * 256, 16 * 49 + 16 * 25 + 10
    relus = 8 * 256 + 16 * 49 + 16 * 25
    assert macs - measured.macs == batch_norm + biases + relus


def test_a_pruned_model_costs_what_the_plan_reached():
    result = spa.prune(classifier(), rf=1.7)
    params, macs = cost(result.model)
    assert (params, macs) == (result.pruned.params, result.pruned.macs)
    assert result.dense.macs / macs == pytest.approx(result.reached.rf)
