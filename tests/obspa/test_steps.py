"""Nodes run one by one, as they run in the whole model."""

import numpy as np
import pytest
from onnx import helper

import spa
import spa.obspa
from spa.graph.execute import run
from spa.observe.steps import OnnxSteps
from spa.observe.store import Store
from spa.observe.stream import Stream, last_reads
from tests.graphs import Builder, classifier


def resized():
    """A Resize whose target is computed: shapes hang on the values of a list."""
    g = Builder(opset=20)
    x = g.input(3, 6, 6)
    y = g.conv(x, 3, 4)
    head = g.node("Shape", [y], start=0, end=2)
    sizes = g.node("Concat", [head, g.ints([8, 6])], axis=0)
    return g.model(g.node("Resize", [y, "", "", sizes], mode="linear"), dims=[["N", 4, 8, 6]])


def branching():
    """A node whose branches read tensors from around it."""
    g = Builder()
    x = g.input(3, 6, 6)
    y = g.node("Relu", [g.conv(x, 3, 4)])
    branches = []
    for op in ("Tanh", "Sigmoid"):
        node = helper.make_node(op, [y], [f"{op}_out"])
        value = helper.make_tensor_value_info(f"{op}_out", 1, None)
        branches.append(helper.make_graph([node], op, [], [value]))
    total = g.node("ReduceSum", [y], keepdims=0)
    condition = g.node("Greater", [total, g.weight(np.zeros((), np.float32))])
    y = g.node("If", [condition], then_branch=branches[0], else_branch=branches[1])
    return g.model(y, dims=[["N", 4, 6, 6]])


def listed():
    """Lists of tensors."""
    g = Builder()
    x = g.conv(g.input(4, 6, 6), 4, 4)
    parts = g.node("SplitToSequence", [x, g.ints(2)], axis=1)
    return g.model(g.node("ConcatFromSequence", [parts], axis=1), dims=[["N", 4, 6, 6]])


@pytest.mark.parametrize("build", [resized, branching, listed])
def test_nodes_alone_give_what_the_model_gives(build):
    model = spa.load(build())
    shape = model.declared[0].dims[1:]
    x = np.random.default_rng(0).standard_normal((7, *shape)).astype(np.float32)
    batches = [x[:3], x[3:]]
    stream = Stream(model, {"x": batches}, OnnxSteps(model), Store(2**20))
    (name,) = model.graph.outputs
    for node, spent in zip(model.graph.nodes, last_reads(model.graph.nodes), strict=True):
        stream.run(node)
        stream.leave(node, [other for other in spent if other != name])
    for found, batch in zip(stream.batches(name), batches, strict=True):
        np.testing.assert_allclose(found, run(model.proto, {"x": batch})[0], atol=1e-6)


def test_another_device_gives_the_same_model():
    """PyTorch's nodes and products, here on the CPU as torch names it."""
    pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((24, 3, 8, 8)).astype(np.float32)
    found = [
        spa.obspa.prune(classifier(), ratio=0.3, calibration=x, selection="obs", device=device)
        for device in ("cpu", "cpu:0")
    ]
    assert found[0].plan.groups == found[1].plan.groups
    y, other = (run(result.model, {"x": x})[0] for result in found)
    np.testing.assert_allclose(y, other, atol=1e-4 * np.abs(y).max())
