"""The proof does not cry wolf: what starts at zero, and what came in another form."""

import gc
import weakref

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.graph.opened import Opened
from spa.pruning.plan import cut_of
from spa.pruning.proof import pair
from spa.pruning.verify import verify_outputs
from tests.graphs import Builder


def linear(g, x, rows, columns, name, value=None):
    if value is None:
        value = np.random.default_rng(len(g.initializers)).standard_normal((rows, columns))
        value = value / rows**0.5
    g.initializers.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return g.node("MatMul", [x, name])


def attention(depth, width=32, heads=2, faint=None):
    """Blocks of attention with a head of zeros, or branches that start at nearly nothing."""
    g = Builder(17)
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 9, width]))
    x, size = "x", width // heads
    for block in range(depth):
        parts = []
        for part, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            y = linear(g, x, width, width, f"{part}{block}")
            y = g.node("Reshape", [y, g.ints([0, 0, heads, size])])
            parts.append(g.node("Transpose", [y], perm=perm))
        q, k, v = parts
        y = g.node("Softmax", [g.node("MatMul", [q, k])], axis=-1)
        y = g.node("Transpose", [g.node("MatMul", [y, v])], perm=[0, 2, 1, 3])
        y = linear(g, g.node("Reshape", [y, g.ints([0, 0, -1])]), width, width, f"out{block}")
        if faint is not None:
            y = g.node("Mul", [y, g.weight(np.full(width, faint, np.float32), f"gamma{block}")])
        x = g.node("Add", [x, y])
    head = None if faint is not None else np.zeros((width, 5))
    return g.model(linear(g, x, width, 5, "head", head))


@pytest.mark.parametrize("faint", [None, 0.0, 1e-6])
def test_deep_attention_before_training_is_proven(faint):
    model = spa.load(attention(16, faint=faint))
    result = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    text = " ".join(result.proof.checks)
    assert "both with random weights where these let nothing pass" in text


@pytest.mark.parametrize("faint", [None, 0.0, 1e-6])
@pytest.mark.parametrize("name", ["query1", "value1", "out0"])
def test_what_starts_at_zero_hides_no_wrong_weight(faint, name):
    model = spa.load(attention(2, faint=faint))
    result = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))
    wrong = onnx.ModelProto()
    wrong.CopyFrom(result.model)
    for tensor in wrong.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor)[::-1].copy()
            tensor.CopyFrom(numpy_helper.from_array(value, name))
    groups = spa.find_groups(model)
    with pytest.raises(spa.VerificationError, match="differs from the zeroed"):
        verify_outputs(model, wrong, cut_of(result.plan, groups.coupling), groups)


def test_what_is_looked_at_once_is_not_held(monkeypatch):
    """With random weights every session has weights of its own: they are open one at a time."""
    alive: weakref.WeakSet[Opened] = weakref.WeakSet()
    counts = []

    class Counted(Opened):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            alive.add(self)

        def run(self, feeds):
            gc.collect()
            counts.append(len(alive))
            return super().run(feeds)

    monkeypatch.setattr(pair, "Opened", Counted)
    result = spa.prune(attention(2), ratio=0.5, limits=spa.Limits(scope="local"))
    assert "both with random weights" in " ".join(result.proof.checks)
    assert max(counts) > 1
    assert counts[-2:] == [1, 1]  # the dense model, and then the pruned one


@pytest.mark.parametrize(("domain", "name"), [("", "Relu"), ("com.microsoft", "Gelu")])
def test_a_function_named_like_an_operator_is_refused(domain, name):
    """ONNX Runtime runs its own operator, and the function is what SPA inlines."""
    opset = helper.make_opsetid("", 17)
    negative = helper.make_node("Neg", ["a"], ["b"])
    shadow = helper.make_function(domain, name, ["a"], ["b"], [negative], [opset])
    g = Builder(17)
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16]))
    hidden = linear(g, "x", 16, 12, "w")
    y = g.node(name, [hidden])
    proto = g.model(linear(g, y, 12, 4, "ww"))
    node = next(node for node in proto.graph.node if node.op_type == name)
    node.domain = domain
    proto.functions.append(shadow)
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(spa.VerificationError, match=f"{domain or 'ai.onnx'}::{name}"):
        spa.prune(proto, ratio=0.5)


def test_a_function_of_its_own_name_is_proven_with_the_file_that_came_in():
    opset = helper.make_opsetid("", 17)
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "Gate", ["a"], ["b"], body, [opset])
    g = Builder(17)
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16]))
    proto = g.model(linear(g, g.node("Gate", [linear(g, "x", 16, 12, "w")]), 12, 4, "ww"))
    next(node for node in proto.graph.node if node.op_type == "Gate").domain = "own"
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proof = spa.prune(proto, ratio=0.5).proof
    assert proof.equal
    assert "the file that came in gives, as it is, what its loaded form gives" in proof.checks


def test_scores_that_rounding_made_are_no_alarm():
    """A sigmoid of -17 is a last bit of 1, more or less: nothing to compare by its own value."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 12)])
    low = g.weight(np.full((1, 6, 1, 1), -17, np.float32), "low")
    y = g.node("Add", [g.conv(x, 12, 6), low])
    proto = g.model(g.node("Sigmoid", [y]))
    result = spa.prune(proto, ratio=0.4)
    assert result.proof.equal
    assert result.plan.groups[0].removed
