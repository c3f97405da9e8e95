"""Ifs are opened and closed again without a trace."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.graph.check import check
from spa.graph.forks import close_forks, open_forks, opened_like
from tests.coupling.test_subgraphs import Flow, branch, subgraph, value
from tests.forks import branches, choosing, ifs, network
from tests.graphs import Builder
from tests.oracles import random_feeds, run
from tests.pruning.test_forks import nested, plain


def between() -> onnx.ModelProto:
    """Two Ifs, one of which reads the other's result, and tensors of before in both branches."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    y = g.fork(network("a", x, 8, 6, 8, seed=1), branch("Neg", x, name="b"))
    z = g.fork(network("c", y, 8, 6, 8, seed=1), branch("Mul", x, y, name="d"))
    return g.model(g.conv(z, 8, 5), y)


def of_constants() -> onnx.ModelProto:
    """Weights in Constant nodes, as before IR version 4."""
    g = choosing(opset=11)
    x = g.block(g.image, 3, 8)
    graphs = [network(stem, x, 8, 6, 8, seed=ord(stem)) for stem in "ab"]
    for graph in graphs:
        nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in graph.initializer]
        nodes += graph.node
        del graph.initializer[:], graph.node[:]
        graph.node.extend(nodes)
    proto = g.model(g.conv(g.fork(*graphs), 8, 5))
    proto.ir_version = 3
    proto.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in proto.graph.initializer
    )
    return proto


def annotated() -> onnx.ModelProto:
    """Shapes are stated of what branches give, and a branch has a text."""
    proto = plain()
    (fork,) = ifs(proto)
    fork.doc_string = "which"
    for attribute in fork.attribute:
        attribute.g.doc_string = "a branch"
        kind = attribute.g.output[0].type.tensor_type
        kind.CopyFrom(value("", TensorProto.FLOAT, ["N", 10, 8, 8]).type.tensor_type)
    return proto


@pytest.mark.parametrize("make", [plain, nested, between, of_constants, annotated])
def test_what_was_opened_is_closed_as_it_was(make):
    proto = make()
    model = spa.load(proto)
    assert model.forks
    assert not any(node.has_subgraphs for node in model.graph.nodes)
    assert model.closed == proto
    again = opened_like(model.closed, model.forks)
    assert again == model.proto
    assert model.with_weights(proto).proto == model.proto
    assert model.sha256 == spa.load(model.closed).sha256
    for seed in range(4):
        feeds = random_feeds(proto, seed, batch=2)
        want, have = run(proto, feeds, optimize=False), run(model.proto, feeds, optimize=False)
        for name in want:
            np.testing.assert_array_equal(have[name], want[name])


def test_stated_shapes_follow_surgery():
    result = spa.prune(annotated(), ratio=0.5, limits=spa.Limits(scope="local"))
    (fork,) = ifs(result.model)
    for graph in branches(fork):
        (value_info,) = graph.output
        assert value_info.type.tensor_type.shape.dim[1].dim_value == 5


def test_surgery_s_own_nodes_go_where_they_are_read():
    """A Reshape in a branch whose target is computed gets nodes and numbers of its own."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    graphs = []
    for stem in "ab":
        nodes = [
            helper.make_node("Conv", [x, f"{stem}_w"], [f"{stem}_c"], kernel_shape=[1, 1]),
            helper.make_node("Reshape", [f"{stem}_c", f"{stem}_flat"], [f"{stem}_f"]),
            helper.make_node("MatMul", [f"{stem}_f", f"{stem}_v"], [f"{stem}_out"]),
        ]
        rng = np.random.default_rng(ord(stem))
        graphs.append(subgraph(nodes, [f"{stem}_out"], name=stem, weights={
            f"{stem}_w": rng.standard_normal((6, 8, 1, 1)).astype(np.float32),
            f"{stem}_flat": np.array([0, 6 * 64]),
            f"{stem}_v": rng.standard_normal((6 * 64, 5)).astype(np.float32),
        }))  # fmt: skip
    proto = g.model(g.fork(*graphs))
    result = spa.prune(proto, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    (fork,) = ifs(result.model)
    for graph in branches(fork):
        targets = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == 7]
        assert [list(target) for target in targets] == [[0, 3 * 64]]
    assert len(result.model.graph.initializer) == len(proto.graph.initializer)


def test_what_is_added_for_both_branches_stays_outside():
    """And what nothing reads any more is left out."""
    proto, forks = open_forks(between(), [2])
    names = [name for node in proto.graph.node for name in node.output]
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([2]), "both"))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([2]), "one"))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([2]), "none"))
    for output, read in (("a_c1", "both"), ("b_out", "both"), ("a_c0", "one")):
        node = proto.graph.node[names.index(output)]
        node.op_type, node.input[:] = "Mul", [node.input[0], read]
        del node.attribute[:]
    closed = close_forks(proto, forks)
    outside = {t.name for t in closed.graph.initializer}
    assert {"both", "one", "none"} & outside == {"both"}
    inside = {t.name for graph in branches(ifs(closed)[0]) for t in graph.initializer}
    assert inside == {"one"}  # the convolution's weights are read no more


def test_a_result_that_goes():
    """What an If gave beside, and nothing reads any more; or all of it."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    y, z = g.fork(
        subgraph([helper.make_node("Neg", [x], ["a"]), helper.make_node("Exp", [x], ["b"])],
                 ["a", "b"], name="t"),
        subgraph([helper.make_node("Abs", [x], ["c"]), helper.make_node("Relu", [x], ["d"])],
                 ["c", "d"], name="e"), 2,
    )  # fmt: skip
    dense = g.model(g.conv(z, 8, 5))
    proto, forks = open_forks(dense, [2])
    wheres = [node for node in proto.graph.node if node.op_type == "Where"]
    proto.graph.node.remove(wheres[0])
    (fork,) = ifs(close_forks(proto, forks))
    assert list(fork.output) == [z]
    assert [[v.name for v in graph.output] for graph in branches(fork)] == [["b"], ["d"]]
    assert [[n.op_type for n in graph.node] for graph in branches(fork)] == [["Exp"], ["Relu"]]
    proto.graph.node.remove(wheres[1])
    assert ifs(close_forks(proto, forks)) == []


def test_a_result_that_is_an_outer_tensor_by_now():
    """ONNX wants a node behind every result of a branch."""
    proto, forks = open_forks(plain(), [2])
    (where,) = (node for node in proto.graph.node if node.op_type == "Where")
    where.input[1] = where.input[2] = proto.graph.node[0].output[0]
    closed = close_forks(proto, forks)
    (fork,) = ifs(closed)
    assert [[n.op_type for n in graph.node] for graph in branches(fork)] == [["Identity"]] * 2
    assert check(closed, full=True) is None


@pytest.mark.parametrize(("shape", "opened"), [([], True), ([1], False)])
def test_a_condition_of_more_axes_than_the_result(shape, opened):
    """An If gives a scalar; an operator that broadcasts would give one of the condition's axes."""
    g = Flow(condition=shape)
    total = g.reduce("ReduceSum", g.image, [0, 1, 2, 3], keepdims=0)
    y = g.fork(branch("Neg", total, name="a"), branch("Exp", total, name="b"))
    model = spa.load(g.model(y, g.conv(g.image, 3, 5)))
    assert bool(model.forks) is opened
    result = spa.prune(model, ratio=0.5, best_effort=True)
    assert result.proof.equal


def test_before_there_was_such_an_operator():
    """Opset 8 has no Where for all types, so that Ifs stay as they are."""
    g = choosing(opset=8)
    y = g.fork(network("a", g.image, 3, 6, 8), network("b", g.image, 3, 6, 8))
    assert not spa.load(g.model(y)).forks


def test_loops_in_a_branch():
    """They stay, and so does what they read; the branch is opened all the same."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    first = network("a", x, 8, 6, 10, seed=1)
    body = subgraph(
        [helper.make_node("Identity", ["go"], ["go_on"]),
         helper.make_node("Add", ["s", "a_c1"], ["next"])],
        ["go_on", "next"], name="body",
        inputs=[value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s")],
    )  # fmt: skip
    body.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    first.node.append(helper.make_node("Loop", ["times", "on", "a_c1"], ["a_out"], body=body))
    first.output[0].name = "a_out"
    proto = g.model(g.conv(g.fork(first, network("b", x, 8, 12, 10, seed=2)), 10, 5))
    model = spa.load(proto)
    assert len(model.forks) == 1
    assert model.closed == proto
    result = spa.prune(model, ratio=0.5)
    assert result.proof.equal
    (fork,) = ifs(result.model)
    then, _ = branches(fork)
    assert then.node[-1].op_type == "Loop"


def test_forks_that_compute_sizes():
    """A shape that depends on a condition: what it is the shape of is followed as ever."""
    g = choosing()
    x = g.block(g.image, 3, 8)
    graphs = [
        subgraph([helper.make_node("Shape", [x], [f"{stem}_s"]),
                  helper.make_node(op, [f"{stem}_s"], [f"{stem}_out"])], [f"{stem}_out"],
                 name=stem)
        for stem, op in (("a", "Identity"), ("b", "Abs"))
    ]  # fmt: skip
    for graph in graphs:
        graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    y = g.node("Reshape", [g.block(x, 8, 8), g.fork(*graphs)])
    proto = g.model(g.conv(g.block(y, 8, 6), 6, 5))
    model = spa.load(proto)
    assert len(model.forks) == 1
    result = spa.prune(model, ratio=0.5)
    assert result.proof.equal
    assert len(ifs(result.model)) == 1


def test_ifs_in_a_function():
    """A function is inlined first; its If, with an input of the call as condition, is opened."""
    body = helper.make_node(
        "If", ["c"], ["y"],
        then_branch=branch("Neg", "x", name="a"), else_branch=branch("Abs", "x", name="b"),
    )  # fmt: skip
    function = helper.make_function(
        "local", "Choose", ["c", "x"], ["y"], [body], [helper.make_opsetid("", 17)]
    )
    g = Builder(17)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    g.inputs.append(value("yes", TensorProto.BOOL, []))
    x = g.node("Choose", ["yes", g.node("Choose", ["yes", x], domain="local")], domain="local")
    proto = g.model(g.conv(x, 8, 5))
    proto.functions.append(function)
    model = spa.load(proto)
    assert len(model.forks) == 2
    result = spa.prune(model, ratio=0.5)
    assert result.proof.equal
    assert len(ifs(result.model)) == 2
