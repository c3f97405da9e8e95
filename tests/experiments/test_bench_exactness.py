"""Whether a smaller network is the dense one less some slices, told from its values alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import spa
from experiments.bench.exactness import BUT_FOR_NORMS, EXACT, UNTOLD, WRONG, compare, kept_indices
from tests.forks import branches, ifs
from tests.graphs import Builder
from tests.pruning.test_forks import plain as in_branches


@pytest.fixture
def pair():
    g = Builder()
    x = g.conv(g.input(3, 8, 8), 3, 8)
    x = g.conv(g.node("Relu", [x]), 8, 6)
    dense = g.model(g.conv(g.node("Relu", [x]), 6, 5))
    result = spa.prune(dense, ratio=0.5, limits=spa.Limits(scope="local"))
    return dense, result.model, spa.load(dense).example


def _tensors(proto):
    return {tensor.name: tensor for tensor in proto.graph.initializer}


def test_the_kept_indices_are_read_off_the_values(pair):
    dense, pruned, _ = pair
    kept = kept_indices(dense, pruned)
    assert len(kept) == 5  # three kernels, two biases
    before, after = _tensors(dense), _tensors(pruned)
    for name, indices in kept.items():
        whole, part = numpy_helper.to_array(before[name]), numpy_helper.to_array(after[name])
        np.testing.assert_array_equal(whole[np.ix_(*indices)], part)


def test_a_right_pruning_is_exact(pair):
    assert compare(*pair) == EXACT


def test_a_network_whose_consumer_lost_other_channels_is_not(pair):
    dense, pruned, feeds = pair
    kept = kept_indices(dense, pruned)
    (name,) = (name for name, indices in kept.items() if len(indices[0]) == 5)
    whole = numpy_helper.to_array(_tensors(dense)[name])
    others = kept[name][1][::-1]  # the same ones, in another order
    wrong = numpy_helper.from_array(np.ascontiguousarray(whole[:, others]), name)
    _tensors(pruned)[name].CopyFrom(wrong)
    assert compare(dense, pruned, feeds) == WRONG


@pytest.mark.parametrize("yes", [True, False])
def test_networks_in_the_branches_of_an_if(yes):
    dense = in_branches()
    result = spa.prune(dense, ratio=0.5, limits=spa.Limits(scope="local"))
    feeds = {**spa.load(dense).example, "yes": np.array(yes)}
    assert compare(dense, result.model, feeds) == EXACT
    (fork,) = ifs(result.model)
    weight = branches(fork)[0 if yes else 1].initializer[1]  # a bias, which any number fits
    array = numpy_helper.to_array(weight)[::-1].copy()
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    assert compare(dense, result.model, feeds) == WRONG


def test_other_weights_cannot_be_compared(pair):
    dense, pruned, feeds = pair
    kept = kept_indices(dense, pruned)
    tensor = next(t for t in pruned.graph.initializer if t.name in kept and len(t.dims) == 4)
    made_up = np.ones(tuple(tensor.dims), np.float32)
    tensor.CopyFrom(numpy_helper.from_array(made_up, tensor.name))
    assert compare(dense, pruned, feeds) == UNTOLD


def test_filled_weights_do_not_tell_which_are_left():
    g = Builder()
    kernel = g.node("ConstantOfShape", [g.ints([8, 3, 1, 1])])
    x = g.node("Conv", [g.input(3, 8, 8), kernel])
    dense = g.model(g.conv(g.node("Relu", [x]), 8, 5))
    assert kept_indices(dense, dense) is None


def _written_out(g, x, channels):
    """A layer norm as exporters of old opsets write it."""
    x = g.node("Sub", [x, g.reduce("ReduceMean", x, [-1])])
    square = g.node("Pow", [x, g.weight(np.float32(2.0))])
    variance = g.node("Add", [g.reduce("ReduceMean", square, [-1]), g.weight(np.float32(1e-5))])
    x = g.node("Div", [x, g.node("Sqrt", [variance])])
    x = g.node("Mul", [x, g.normal(channels)])
    return g.node("Add", [x, g.normal(channels)])


def _fused(g, x, channels):
    return g.node("LayerNormalization", [x, g.normal(channels), g.normal(channels)])


def _one_more(g, x, channels):
    """A norm by the root of the mean square, whose weight is the scale less one (Gemma's)."""
    square = g.node("Pow", [x, g.weight(np.float32(2.0))])
    mean = g.node("Add", [g.reduce("ReduceMean", square, [-1]), g.weight(np.float32(1e-5))])
    x = g.node("Div", [x, g.node("Sqrt", [mean])])
    scale = g.node("Add", [g.normal(channels), g.weight(np.float32(1.0))])
    return g.node("Mul", [x, scale])


@pytest.mark.parametrize("norm", [_fused, _written_out, _one_more])
def test_a_network_less_some_channels_of_a_norm_is_exact_but_for_it(norm):
    g = Builder()
    x = g.node("MatMul", [g.input(5, 6), g.normal(6, 8)])
    x = g.node("MatMul", [norm(g, x, 8), g.normal(8, 7)])
    dense = g.model(g.node("MatMul", [g.node("Relu", [x]), g.normal(7, 3)]))
    pruned = spa.prune(dense, ratio=0.5, limits=spa.Limits(scope="local")).model
    feeds = spa.load(dense).example
    assert compare(dense, pruned, feeds) == BUT_FOR_NORMS
    # The last weight's rows in another order: wrong, and no norm's doing.
    name = g.initializers[-1].name
    part = numpy_helper.to_array(_tensors(pruned)[name])
    _tensors(pruned)[name].CopyFrom(numpy_helper.from_array(part[::-1].copy(), name))
    assert compare(dense, pruned, feeds) == WRONG


def test_a_weight_that_is_brought_to_mean_zero_is_not_told():
    """Its mean is over fewer entries then, and no scale says which (timm's NFNets)."""
    g = Builder()
    x = g.node("Relu", [g.node("MatMul", [g.input(5, 6), g.normal(6, 8)])])
    weight = g.normal(8, 7)
    centred = g.node("Sub", [weight, g.reduce("ReduceMean", weight, [0])])
    x = g.node("Relu", [g.node("MatMul", [x, g.node("Mul", [centred, g.normal(7)])])])
    dense = g.model(g.node("MatMul", [x, g.normal(7, 3)]))
    pruned = spa.prune(dense, ratio=0.5, limits=spa.Limits(scope="local")).model
    assert compare(dense, pruned, spa.load(dense).example) == UNTOLD
