"""Parameters and MACs, by hand, against torch's own count, and against torch-pruning's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import spa
from spa.graph.cost import node_costs
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


def _cost_of(g: Builder, *outputs: str) -> tuple[int, int]:
    return cost(g.model(*outputs))


@pytest.mark.parametrize(
    ("group", "stride", "params", "macs"),
    [
        # out is 8x8: each of its 64 places takes 12 * 6/g * 3*3 products.
        (1, 1, 12 * 6 * 9 + 12, 64 * 12 * 6 * 9),
        (2, 1, 12 * 3 * 9 + 12, 64 * 12 * 3 * 9),
        (6, 1, 12 * 1 * 9 + 12, 64 * 12 * 1 * 9),
        # out is 4x4.
        (1, 2, 12 * 6 * 9 + 12, 16 * 12 * 6 * 9),
    ],
)
def test_conv(group, stride, params, macs):
    g = Builder()
    x = g.conv(g.input(6, 8, 8), 6, 12, group=group, stride=stride)
    assert _cost_of(g, x) == (params, macs)


@pytest.mark.parametrize(("rank", "places"), [(1, 8), (3, 512)])
def test_conv_of_other_ranks(rank, places):
    g = Builder()
    x = g.conv(g.input(4, *(8,) * rank), 4, 6, rank=rank, bias=False)
    assert _cost_of(g, x) == (6 * 4 * 3**rank, places * 6 * 4 * 3**rank)


@pytest.mark.parametrize("group", [1, 2])
def test_conv_transpose(group):
    """Every place of the input is multiplied with the kernel, whatever the stride."""
    g = Builder()
    x = g.conv_transpose(g.input(6, 5, 7), 6, 8, k=2, stride=2, group=group)
    weight = 6 * 8 // group * 4
    assert _cost_of(g, x) == (weight + 8, 35 * weight)


def test_gemm_with_a_transposed_input():
    g = Builder(batch=10)
    x = g.node("Gemm", [g.input(4), g.normal(10, 6)], transA=1)
    # (4, 10) times (10, 6), per example of a first axis of ten.
    assert _cost_of(g, x) == (60, 4 * 10 * 6 // 10)


def test_matmul_of_weights_and_of_activations():
    g = Builder()
    x = g.input(7, 10)
    y = g.node("MatMul", [x, g.normal(10, 6)])
    scores = g.node("MatMul", [y, g.node("Transpose", [y], perm=[0, 2, 1])])
    assert _cost_of(g, scores) == (60, 7 * 10 * 6 + 7 * 7 * 6)


def test_matmul_of_many_heads():
    """(N, 4, 7, 8) times (N, 4, 8, 7): four heads of 7 x 7 scores over 8."""
    g = Builder()
    q, k = (g.input(4, *size, name=name) for name, size in (("q", (7, 8)), ("k", (8, 7))))
    assert _cost_of(g, g.node("MatMul", [q, k])) == (0, 4 * 7 * 7 * 8)


def test_matmul_with_vectors():
    g = Builder()
    assert _cost_of(g, g.node("MatMul", [g.input(7, 10), g.normal(10)])) == (10, 70)


@pytest.mark.parametrize(
    ("equation", "left", "right", "macs"),
    [
        ("nik,kj->nij", (7, 10), (10, 6), 7 * 10 * 6),
        ("nik, jk -> nij", (7, 10), (6, 10), 7 * 10 * 6),
        ("nik,nkj", (7, 10), None, 7 * 10 * 7),
        ("...k,kj->...j", (7, 10), (10, 6), 7 * 10 * 6),
    ],
)
def test_einsum(equation, left, right, macs):
    """The product of all letters' sizes, per example."""
    g = Builder()
    x = g.input(*left)
    other = g.normal(*right) if right else g.node("Transpose", [x], perm=[0, 2, 1])
    model = spa.load(g.model(g.node("Einsum", [x, other], equation=equation)))
    assert spa.measure_cost(model).macs == macs


def test_einsum_of_three():
    """Two products for each of the letters' combinations; of one operand, none."""
    g = Builder()
    x = g.node("Einsum", [g.input(7), g.normal(7, 5), g.normal(5)], equation="ni,ij,j->nj")
    x = g.node("Einsum", [x], equation="nj->n")
    assert _cost_of(g, x) == (7 * 5 + 5, 2 * 7 * 5)


def test_everything_else_costs_nothing():
    g = Builder()
    x = g.node("Relu", [g.batch_norm(g.input(6, 8, 8), 6)])
    x = g.node("Softmax", [g.node("Add", [x, g.normal(6, 1, 1)])])
    # A scale, a shift and an addend of six.
    assert _cost_of(g, g.node("MaxPool", [x], kernel_shape=[2, 2])) == (18, 0)


@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_macs_are_of_one_example(batch):
    assert spa.measure_cost(spa.load(classifier(batch=batch))) == spa.measure_cost(
        spa.load(classifier())
    )


def test_integers_and_scalars_are_no_parameters():
    g = Builder()
    x = g.conv(g.input(3, 8, 8), 3, 4, bias=False)
    x = g.node("Mul", [x, g.weight(np.float32(2), "two", "initializer")])
    x = g.node("Add", [x, g.weight(np.ones(1, np.float32), "one", "initializer")])
    assert _cost_of(g, g.reshape(x, [0, -1]))[0] == 4 * 27


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_parameters(dtype):
    g = Builder()
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = g.node("Cast", [g.input(6)], to=kind)
    x = g.node("MatMul", [x, g.weight(np.ones((6, 5), dtype))])
    assert _cost_of(g, g.node("Cast", [x], to=TensorProto.FLOAT)) == (30, 30)


def test_the_classifier_by_hand():
    a, b, c = 8, 12, 16
    params = a * 27 + 2 * a * a * 9 + 3 * 2 * a + b * a * 9 + b + c * b * 9 + c + 5 * c + 5
    macs = 64 * (a * 27 + 2 * a * a * 9) + 16 * (b * a * 9 + c * b * 9) + 5 * c
    assert spa.measure_cost(spa.load(classifier())) == spa.Cost(params, macs)


def test_a_cost_is_a_product_of_axes_that_shrink():
    """So that the budget can count a plan without cutting anything."""
    model = spa.load(classifier())
    for cost in node_costs(model):
        assert {name for name, _ in cost.axes} <= set(model.shapes)
    total = sum(
        cost.factor * math.prod(model.shapes[name][axis] for name, axis in cost.axes)
        for cost in node_costs(model)
    )
    assert round(total) == spa.measure_cost(model).macs


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_what_the_plan_counts_is_what_the_file_has(ratio):
    result = spa.prune(classifier(), ratio=ratio)
    assert spa.measure_cost(spa.load(result.model)) == result.pruned


class _Mixed(nn.Module):
    """Fresh batch norms with equal weights, a depthwise convolution, a transposed one, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 12, 2, stride=2)
        self.layer_norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(self.depthwise(x)))
        x = torch.relu(self.up(x)).mean((2, 3))
        return self.head(self.layer_norm(x))


def test_torch_counts_the_same():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = _Mixed()
    cost = spa.measure_cost(spa.load(net, torch.zeros(2, 3, 8, 8)))
    assert cost.params == sum(parameter.numel() for parameter in net.parameters())
    assert cost.macs == 64 * (8 * 27 + 8 * 9) + 64 * 8 * 12 * 4 + 12 * 5
