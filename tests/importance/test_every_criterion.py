"""What every registered criterion owes, whatever it scores by.

The oracle knows no formula: exchanging channels of a group everywhere leaves what the network
computes as it is, so it must exchange their scores and nothing else.
"""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import spa
from spa.bridge import from_torch
from spa.bridge.torchvision_shim import import_torchvision
from spa.importance.criterion import get, names
from tests.graphs import Builder, classifier

# What is drawn for each index knows nothing of the network.
DRAWN = {"random"}


def flattened() -> onnx.ModelProto:
    """A channel of a flatten holds several columns."""
    g = Builder()
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 4, 4), 3, 8), 8)])
    x = g.node("Flatten", [x])
    return g.model(g.gemm(g.node("Relu", [g.gemm(x, 8 * 16, 12)]), 12, 5))


def tied() -> onnx.ModelProto:
    """One convolution and its norm are used twice."""
    g = Builder()
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 6, 6), 3, 8), 8)])
    w = g.normal(8, 8, 3, 3)
    norm = [g.normal(8, stem="gamma"), g.normal(8, stem="beta"), g.normal(8, stem="mean")]
    norm.append(g.weight(np.linspace(0.5, 1.5, 8, dtype=np.float32), "var"))
    for _ in range(2):
        y = g.node("Conv", [x, w], pads=[1, 1, 1, 1])
        x = g.node("Relu", [g.node("Add", [x, g.node("BatchNormalization", [y, *norm])])])
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    return g.model(g.gemm(x, 8, 5))


def grouped() -> onnx.ModelProto:
    """Convolutions in groups, one of them depthwise, and a transposed one."""
    g = Builder()
    x = g.node("Relu", [g.batch_norm(g.conv(g.input(3, 6, 6), 3, 12), 12)])
    x = g.node("Relu", [g.conv(x, 12, 12, group=12)])
    x = g.node("Relu", [g.conv(x, 12, 18, group=3)])
    x = g.node("Relu", [g.batch_norm(g.conv_transpose(x, 18, 10), 10)])
    return g.model(g.gemm(g.node("Flatten", [g.node("GlobalAveragePool", [x])]), 10, 5))


def transformer() -> onnx.ModelProto:
    torch.manual_seed(0)
    net = import_torchvision().models.VisionTransformer(16, 8, 1, 2, 16, 24, num_classes=5)
    torch.nn.init.normal_(net.heads.head.weight)
    return from_torch(net.eval(), torch.randn(2, 3, 16, 16))


NETWORKS = {
    "chain": functools.partial(classifier, widths=(8, 12, 16)),
    "flatten": flattened, "tied": tied, "grouped": grouped, "transformer": transformer,
}  # fmt: skip
# Criteria that score nothing in some networks, and say so.
LACKS = {
    ("bn_scale", "transformer"): "batch norm",
    ("activation", "transformer"): "no such operator",
}


@functools.cache
def network(name: str) -> tuple[onnx.ModelProto, tuple[np.ndarray, np.ndarray]]:
    proto = NETWORKS[name]()
    (value,) = proto.graph.input
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
    rng = np.random.default_rng(5)
    return proto, (rng.standard_normal((12, *shape)).astype(np.float32), np.arange(12) % 5)


def scored(proto: onnx.ModelProto, criterion: str, data, seed: int = 0) -> tuple[spa.Groups, dict]:
    model = spa.load(proto)
    groups = spa.find_groups(model)
    data = data if get(criterion).needs.sees_data else None
    return groups, spa.score(model, groups, criterion, data=data, seed=seed).by_group


def exchanged(proto: onnx.ModelProto, group: spa.Group, order: np.ndarray) -> onnx.ModelProto:
    """The file with a group's channels in another order, everywhere."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    stored = {tensor.name: tensor for tensor in copy.graph.initializer}
    for member in group.members:
        # A read with labels of its own is given a tensor of its own.
        own = f"{member.name}/{member.axis.uses}" if member.axis.uses else member.name
        if own not in stored:
            stored[own] = copy.graph.initializer.add()
            stored[own].CopyFrom(stored[member.name])
            stored[own].name = own
            for use in member.axis.uses:
                copy.graph.node[use.node].input[use.position] = own
        tensor = stored[own]
        array = np.moveaxis(numpy_helper.to_array(tensor).copy(), member.axis.axis, 0)
        array[member.indices] = array[member.indices[order]]
        array = np.ascontiguousarray(np.moveaxis(array, 0, member.axis.axis))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


CASES = [
    pytest.param(c, n, id=f"{c}-{n}")
    for c in sorted(set(names()) - DRAWN)
    for n in NETWORKS
]  # fmt: skip


@pytest.mark.parametrize(("criterion", "name"), CASES)
def test_exchanged_channels_exchange_their_scores(criterion, name):
    proto, data = network(name)
    if (criterion, name) in LACKS:
        with pytest.raises(spa.SettingError, match=LACKS[criterion, name]):
            scored(proto, criterion, data)
        return
    groups, before = scored(proto, criterion, data)
    assert before
    rng = np.random.default_rng(2)
    for group in groups.groups:
        order = rng.permutation(group.channels)
        again, after = scored(exchanged(proto, group, order), criterion, data)
        assert [g.channels for g in again] == [g.channels for g in groups]
        for key, values in before.items():
            want = values[order] if key == group.id else values
            scale = np.abs(values).max()
            np.testing.assert_allclose(after[key], want, rtol=2e-3, atol=2e-3 * scale)


@pytest.mark.parametrize("criterion", names())
def test_a_seed_means_the_same_scores(criterion):
    proto, data = network("chain")
    one, two = (scored(proto, criterion, data, seed=3)[1] for _ in range(2))
    for key, values in one.items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, two[key])


@pytest.mark.parametrize("criterion", names())
def test_it_says_what_it_needs_and_where_it_is_from(criterion):
    found = get(criterion)
    assert found.source
    proto, _ = network("chain")
    if found.needs.sees_data:
        with pytest.raises(spa.SettingError, match="none was given"):
            spa.prune(proto, criterion=criterion, rf=1.2)
        assert spa.prune(proto, criterion=criterion, rf=1.2, data="noise").proof.equal
    else:
        assert spa.prune(proto, criterion=criterion, rf=1.2).proof.equal
