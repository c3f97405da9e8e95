"""Networks inside of Ifs shrink in both branches; the file keeps its Ifs."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
import spa.obspa
from spa.errors import VerificationError
from spa.graph.deferred import is_deferred
from spa.pruning.plan import cut_of
from spa.pruning.verify import verify_outputs
from tests.coupling.cases import described, kept
from tests.coupling.test_subgraphs import Flow, branch, subgraph, value
from tests.forks import (
    choosing,
    graphs,
    ifs,
    network,
    pruned_both_ways,
    same_both_ways,
    weights,
    zeroed,
)
from tests.oracles import run


def plain(**sizes) -> onnx.ModelProto:
    """A convolution, a network in each branch, and two convolutions."""
    g = choosing(sizes.pop("opset", 17))
    x = g.block(g.image, 3, 8)
    y = g.fork(network("a", x, 8, 6, 10, seed=1), network("b", x, 8, 12, 10, seed=2))
    return g.model(g.conv(g.node("Relu", [y]), 10, 5))


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_a_network_in_each_branch(opset):
    proto = plain(opset=opset)
    assert described(proto) == [
        "10: a_b1.0 a_w1.0 b_b1.0 b_w1.0 w1.1",  # what both give is one group
        "12: b_b0.0 b_w0.0 b_w1.1",
        "6: a_b0.0 a_w0.0 a_w1.1",
        "8: a_w0.1 b0.0 b_w0.1 w0.0",
    ]
    result = pruned_both_ways(proto)
    (old,), (new,) = ifs(proto), ifs(result.model)
    assert (new.name, new.input, new.output) == (old.name, old.input, old.output)
    assert [node.op_type for node in result.model.graph.node] == [
        node.op_type for node in proto.graph.node
    ]
    for a, b in zip(graphs(proto.graph), graphs(result.model.graph), strict=True):
        assert [t.name for t in a.initializer] == [t.name for t in b.initializer]
    assert weights(result.model) == {
        "w0": (4, 3, 3, 3), "b0": (4,), "w1": (5, 5, 3, 3), "b1": (5,),
        "a_w0": (3, 4, 3, 3), "a_b0": (3,), "a_w1": (5, 3, 3, 3), "a_b1": (5,),
        "b_w0": (6, 4, 3, 3), "b_b0": (6,), "b_w1": (5, 6, 3, 3), "b_b1": (5,),
    }  # fmt: skip
    assert spa.measure_cost(spa.load(result.model)) == result.pruned


def test_both_branches_count():
    """3x3 convolutions at 8x8, of all branches."""
    pairs = ((3, 8), (8, 6), (6, 10), (8, 12), (12, 10), (10, 5))
    cost = spa.measure_cost(spa.load(plain()))
    assert cost.macs == sum(64 * 9 * a * b for a, b in pairs)
    assert cost.params == sum(9 * a * b + b for a, b in pairs)


def test_a_weight_that_both_branches_read():
    """It lies outside, is cut once, and stays outside."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    w, v, u = g.normal(8, 8, 3, 3), g.normal(6, 8, 3, 3), g.normal(6, 8, 3, 3)
    y = g.fork(network("a", x, 8, 8, 6, names=(w, v)), network("b", x, 8, 8, 6, names=(w, u)))
    proto = g.model(g.conv(y, 6, 5))
    result = pruned_both_ways(proto)
    (fork,) = ifs(result.model)
    assert not any(a.g.initializer for a in fork.attribute)
    shapes = weights(result.model)
    assert (shapes[w], shapes[v], shapes[u]) == ((4, 4, 3, 3), (3, 4, 3, 3), (3, 4, 3, 3))


def test_a_vector_that_both_branches_read():
    """Equal vectors are taken apart; each part goes where it is read."""
    g = choosing()
    bias = g.weight(np.zeros(8, np.float32), "zeros")
    graphs_ = []
    for stem in ("a", "b"):
        graph = network(stem, g.image, 3, 8, 6, seed=ord(stem))
        graph.initializer.remove(next(t for t in graph.initializer if t.name == f"{stem}_b0"))
        graph.node[0].input[2] = bias
        graphs_.append(graph)
    proto = g.model(g.conv(g.node("Relu", [g.fork(*graphs_)]), 6, 5))
    model = spa.load(proto)
    result = spa.prune(model, ratio=0.5)  # the channels that go differ, as scores do
    assert result.proof.equal
    (fork,) = ifs(result.model)
    names = [[t.name for t in a.g.initializer if bias in t.name] for a in fork.attribute]
    assert [len(some) for some in names] == [1, 1]
    assert bias not in {t.name for t in result.model.graph.initializer}
    # A bias of zeros: to take rows out of the weights alone is the same here.
    for yes in (True, False):
        feeds = {"x": np.ones((2, 3, 8, 8), np.float32), "yes": np.array(yes)}
        feeds.update(on=np.array(True), times=np.array(1))
        plan = result.plan
        entries = tuple(p for p in plan.parameters if p.name != bias)
        want = run(zeroed(proto, dataclasses.replace(plan, parameters=entries)), feeds)
        have = run(result.model, feeds)
        for name in want:
            np.testing.assert_allclose(have[name], want[name], atol=1e-5)


def nested() -> onnx.ModelProto:
    """An If in each branch of an If; the inner condition is computed in there."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    outer = []
    for stem in ("a", "b"):
        inner = helper.make_node(
            "If", [f"{stem}_no"], [f"{stem}_in"], name=f"{stem}_if",
            then_branch=network(f"{stem}c", f"{stem}_h", 6, 7, 10, seed=3),
            else_branch=network(f"{stem}d", f"{stem}_h", 6, 9, 10, seed=4),
        )  # fmt: skip
        first = network(stem, x, 8, 6, seed=ord(stem))
        first.node[-1].output[0] = f"{stem}_h"
        total = helper.make_node("ReduceSum", [g.image], [f"{stem}_sum"], keepdims=0)
        sign = helper.make_node("Less", [f"{stem}_sum", "nothing"], [f"{stem}_no"])
        last = helper.make_node("Relu", [f"{stem}_in"], [f"{stem}_out"])
        first.node.extend([total, sign, inner, last])
        first.output[0].name = f"{stem}_out"
        outer.append(first)
    g.initializers.append(numpy_helper.from_array(np.float32(0), "nothing"))
    return g.model(g.conv(g.fork(*outer), 10, 5))


def test_forks_within_forks():
    proto = nested()
    model = spa.load(proto)
    assert [fork.node.name for fork in model.forks][1:] == ["a_if", "b_if"]
    assert not any(node.has_subgraphs for node in model.graph.nodes)
    result = pruned_both_ways(proto)
    assert [node.name for node in ifs(result.model)] == [node.name for node in ifs(proto)]
    before, after = weights(proto), weights(result.model)
    assert set(before) == set(after)
    for name in before:
        assert np.prod(after[name]) < np.prod(before[name]) or name in ("b1", "nothing")


def test_one_that_stays_within_one_that_is_opened():
    """A condition with too many axes; what the inner one reads is kept, all else shrinks."""
    g = choosing()
    g.weight(np.ones((1,) * 6, bool), "many")
    g.inputs.append(value("other", TensorProto.BOOL, [1] * 6))
    x = g.block(g.image, 3, 8)
    first = network("a", x, 8, 6, 7, seed=1)
    inner = helper.make_node(
        "If", ["other"], ["a_in"], name="inner",
        then_branch=branch("Neg", "a_c1", name="c"), else_branch=branch("Exp", "a_c1", name="d"),
    )  # fmt: skip
    first.node.append(inner)
    first.output[0].name = "a_in"
    y = g.fork(first, network("b", x, 8, 12, 7, seed=2))
    proto = g.model(g.conv(y, 7, 5))
    assert described(proto) == [
        "12: b_b0.0 b_w0.0 b_w1.1", "6: a_b0.0 a_w0.0 a_w1.1", "8: a_w0.1 b0.0 b_w0.1 w0.0",
    ]  # fmt: skip
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    (outer, left) = ifs(result.model)
    assert left.name == "inner"
    want = zeroed(proto, result.plan)
    for yes in (True, False):
        feeds = {"x": np.ones((1, 3, 8, 8), np.float32), "yes": np.array(yes),
                 "other": np.full((1,) * 6, True), "on": np.array(True),
                 "times": np.array(1)}  # fmt: skip
        (a,), (b,) = (list(run(m, feeds).values()) for m in (want, result.model))
        np.testing.assert_allclose(b, a, atol=1e-5 * np.abs(a).max())


def test_names_that_branches_share():
    """The second branch's get a number, in the plan and in the file."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    same = [network("n", x, 8, 6, 10, seed=seed) for seed in (1, 2)]
    y = g.fork(*same)
    proto = g.model(g.conv(y, 10, 5))
    assert "6: n_b0__1.0 n_w0__1.0 n_w1__1.1" in described(proto)
    unique = onnx.ModelProto()
    unique.CopyFrom(proto)
    (fork,) = ifs(unique)
    other = next(a.g for a in fork.attribute if a.name == "else_branch")
    for tensor in other.initializer:
        tensor.name += "__1"
    for node in other.node:
        node.input[:] = [n if n == x else f"{n}__1" for n in node.input]
        node.output[:] = [f"{n}__1" for n in node.output]
    other.output[0].name += "__1"
    result = pruned_both_ways(proto, reference=unique)
    assert {"n_w0", "n_w0__1"} <= set(weights(result.model))


def test_results_that_are_weights_or_pass_through():
    """A branch may give a weight of its own, or an outer tensor behind an Identity."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    gain = np.linspace(1, 2, 8, dtype=np.float32).reshape(1, 8, 1, 1)
    passing = helper.make_node("Identity", [x], ["a_out"])
    then = subgraph([passing], ["a_out", "a_gain"], name="a", weights={"a_gain": gain})
    inverse = helper.make_node("Neg", [x], ["b_out"])
    other = subgraph([inverse], ["b_out", "b_gain"], name="b", weights={"b_gain": gain + 1})
    y, k = g.fork(then, other, 2)
    proto = g.model(g.conv(g.node("Mul", [y, k]), 8, 5))
    assert described(proto) == ["8: a_gain.1 b0.0 b_gain.1 w0.0 w1.1"]
    result = pruned_both_ways(proto)
    assert weights(result.model)["a_gain"] == weights(result.model)["b_gain"] == (1, 4, 1, 1)
    assert spa.load(result.model).closed == result.model


def test_a_result_that_nobody_reads():
    g = choosing()
    x = g.block(g.image, 3, 8)
    both = [network(stem, x, 8, 6, 10, seed=ord(stem)) for stem in ("a", "b")]
    for stem, graph in zip("ab", both, strict=True):
        graph.output.insert(0, value(f"{stem}_r0"))
    unread, y = g.fork(*both, 2)
    result = pruned_both_ways(g.model(g.conv(y, 10, 5)))
    assert list(ifs(result.model)[0].output) == [unread, y]


# --- what stays as it is -------------------------------------------------------------------------


def beside(g: Flow, y: str) -> onnx.ModelProto:
    """Something that shrinks after an If that does not."""
    return g.model(g.conv(g.block(y, 10, 6), 6, 5))


def test_a_branch_that_does_not_run_on_the_example():
    """It is for images of another size, which these never have at the same time."""
    g = choosing()
    node = helper.make_node("MatMul", [g.image, "b_w"], ["b_m"])
    conv = helper.make_node("Conv", ["b_m", "b_v"], ["b_out"])
    rng = np.random.default_rng(0)
    other = subgraph([node, conv], ["b_out"], name="b", weights={
        "b_w": rng.random((11, 8), np.float32), "b_v": rng.random((10, 3, 1, 1), np.float32),
    })  # fmt: skip
    g.inputs[0].type.tensor_type.shape.dim[3].dim_param = "width"
    proto = beside(g, g.fork(network("a", g.image, 3, 6, 10), other))
    model = spa.load(proto, {"x": (1, 3, 8, 8), "yes": np.array(True)})
    assert not model.forks
    assert described(model) == ["6: b0.0 w0.0 w1.1"]
    assert spa.prune(model, ratio=0.5).proof.equal


@pytest.mark.parametrize("kind", ["shapes", "sizes", "condition"])
def test_results_that_one_operator_cannot_choose_from(kind):
    g = choosing()
    then, other = (network(s, g.image, 3, 6, 10, seed=ord(s)) for s in "ab")
    if kind == "shapes":  # (N, 10, 8, 8) and (1, 10, 8, 8), which broadcasts
        other = subgraph([helper.make_node("Identity", ["k"], ["b_out"])], ["b_out"], name="b",
                         weights={"k": np.ones((1, 10, 8, 8), np.float32)})  # fmt: skip
    elif kind == "sizes":  # as many at one batch size, and not at another
        g.inputs[0].type.tensor_type.shape.dim[0].dim_param = "N"
        other = subgraph([helper.make_node("Identity", ["k"], ["b_out"])], ["b_out"], name="b",
                         weights={"k": np.ones((2, 10, 8, 8), np.float32)})  # fmt: skip
    else:
        g = Flow()
    proto = beside(g, g.fork(then, other))
    model = spa.load(proto, {"x": (2, 3, 8, 8), "yes": np.full(model_shape(g), True)})
    assert not model.forks
    assert [line for line in described(model) if "a_" in line] == []
    assert "it lies inside of a subgraph of If" in kept(proto)["a_w0.0"]


def model_shape(g: Flow) -> tuple[int, ...]:
    """Of the condition."""
    (yes,) = (v for v in g.inputs if v.name == "yes")
    return tuple(d.dim_value for d in yes.type.tensor_type.shape.dim)


def test_one_of_several_that_stays():
    """The others are opened all the same, whether it runs or not."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    wrong = subgraph([helper.make_node("MatMul", [x, "k"], ["c_out"])], ["c_out"], name="c",
                     weights={"k": np.ones((3, 8), np.float32)})  # fmt: skip
    g.inputs[0].type.tensor_type.shape.dim[3].dim_param = "width"
    y = g.fork(network("a", x, 8, 6, 10, seed=1), network("b", x, 8, 6, 10, seed=2))
    z = g.fork(branch("Neg", x, name="d"), wrong)
    v = g.fork(network("e", x, 8, 6, 10, seed=1), network("f", x, 8, 6, 10, seed=2))
    total = g.node("Add", [g.node("Add", [y, v]), g.conv(z, 8, 10)])
    proto = g.model(g.conv(total, 10, 5))
    model = spa.load(proto, {"x": (2, 3, 8, 8), "yes": np.array(True)})
    assert [fork.outputs for fork in model.forks] == [(y,), (v,)]
    result = spa.prune(model, ratio=0.5)
    assert result.proof.equal
    assert [list(node.output) for node in ifs(result.model)] == [[y], [z], [v]]


# --- the proof -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["then_branch", "else_branch"])
def test_the_proof_sees_the_branch_that_no_example_takes(which):
    proto = plain()
    model = spa.load(proto)
    result = spa.prune(model, ratio=0.5, verify=False)
    spa.verify(model, result.model, result.plan)
    (fork,) = ifs(result.model)
    graph = next(a.g for a in fork.attribute if a.name == which)
    tensor = graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array[0] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    with pytest.raises(VerificationError, match=f"in {which} of If .* differs from what the plan"):
        spa.verify(model, result.model, result.plan)
    groups = spa.find_groups(model)
    with pytest.raises(VerificationError, match="differs from the zeroed dense model"):
        verify_outputs(model, result.model, cut_of(result.plan, groups.coupling), groups)


def test_the_proof_sees_branches_that_are_exchanged():
    proto = plain()
    model = spa.load(proto)
    result = spa.prune(model, ratio=0.5, verify=False)
    (fork,) = ifs(result.model)
    for attribute in fork.attribute:
        names = {"then_branch": "else_branch", "else_branch": "then_branch"}
        attribute.name = names[attribute.name]
    with pytest.raises(VerificationError):
        spa.verify(model, result.model, result.plan)


def test_a_branch_that_gives_a_constant_is_proven_with_random_weights():
    """Its last weights are zeros, as some heads begin."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    graph = network("b", x, 8, 12, 10, seed=2)
    for tensor in graph.initializer:
        if tensor.name in ("b_w1", "b_b1"):
            zeros = np.zeros(tuple(tensor.dims), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    y = g.fork(network("a", x, 8, 6, 10, seed=1), graph)
    result = spa.prune(g.model(g.conv(y, 10, 5)), ratio=0.5)
    assert "random weights" in result.proof.checks[-1]


# --- other ways to a smaller model ---------------------------------------------------------------


def test_refitted_models(tmp_path):
    """OBSPA's dense-shaped file has the Ifs too, and the plan is of that file."""
    proto = plain()
    result = spa.obspa.prune(proto, ratio=0.4, calibration="noise", samples=32)
    assert result.proof.equal
    assert [n.name for n in ifs(result.reconstructed)] == [n.name for n in ifs(proto)]
    assert {k: len(v) for k, v in weights(proto).items()} == {
        k: len(v) for k, v in weights(result.reconstructed).items()
    }
    path = tmp_path / "reconstructed.onnx"
    spa.save(result.reconstructed, path)
    model = spa.load(path)
    assert model.sha256 == result.plan.weights
    assert spa.apply_plan(model, result.plan) == result.model
    assert spa.verify(model, result.model, result.plan).equal


def test_several_steps():
    proto = plain()
    result = spa.prune(proto, rp=2.0, steps=3)
    assert result.proof.equal
    assert len(ifs(result.model)) == 1


def test_fine_tuning_gives_the_ifs_back():
    """A classifier that asks whether its input is bright."""
    g = Flow(17)
    del g.inputs[1:]
    x = g.block(g.image, 3, 8)
    mean = g.reduce("ReduceMean", g.image, [0, 1, 2, 3], keepdims=0)
    g.initializers.append(numpy_helper.from_array(np.float32(0), "dark"))
    yes = g.node("Greater", [mean, "dark"])
    y = g.node("If", [yes], then_branch=network("a", x, 8, 6, 10, seed=1),
               else_branch=network("b", x, 8, 12, 10, seed=2))  # fmt: skip
    y = g.node("Flatten", [g.node("GlobalAveragePool", [g.node("Relu", [y])])])
    result = spa.prune(g.model(g.gemm(y, 10, 4)), ratio=0.5)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 3, 8, 8)).astype(np.float32), rng.integers(0, 4, 16)
    tuned = spa.finetune(result, x, y, spa.Tuning(epochs=2))
    assert [n.name for n in ifs(tuned.pruned.model)] == [n.name for n in ifs(result.model)]
    assert weights(tuned.pruned.model) == weights(result.model)
    assert tuned.pruned.model != result.model


def test_weights_that_are_not_held(tmp_path, monkeypatch):
    """Large ones outside, which both branches read, stay in their file until they are written."""
    monkeypatch.setattr("spa.graph.read.MAX_HELD_BYTES", 0)
    g = choosing()
    x = g.block(g.image, 3, 128)
    w, v, u = g.normal(128, 128, 3, 3), g.normal(64, 128, 3, 3), g.normal(64, 128, 3, 3)
    sizes = (128, 128, 64)
    y = g.fork(network("a", x, *sizes, names=(w, v)), network("b", x, *sizes, names=(w, u)))
    proto = g.model(g.conv(y, 64, 5))
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    onnx.save(copy, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=1000)
    model = spa.load(tmp_path / "m.onnx")
    assert {t.name for t in model.proto.graph.initializer if is_deferred(t)} == {w, v, u}
    result = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    spa.save(result.model, tmp_path / "o.onnx")
    same_both_ways(zeroed(proto, result.plan), onnx.load(tmp_path / "o.onnx"))
