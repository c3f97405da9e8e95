"""Loop, Scan, and Ifs that stay: what their subgraphs read is kept with the reason, and no more.

Conditions and trip counts are inputs here, so that every control flow is a real one. A condition
with more axes than any result keeps an If as it is; tests/graph/test_forks.py opens the others.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder

READ = "8 of 8: a subgraph reads it"
MORE_AXES = (1,) * 6


def value(name: str, kind: int = TensorProto.FLOAT, shape=None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def subgraph(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], *, name: str = "body",
    inputs: Sequence[onnx.ValueInfoProto] = (), weights: dict[str, np.ndarray] | None = None,
) -> onnx.GraphProto:  # fmt: skip
    tensors = [numpy_helper.from_array(array, key) for key, array in (weights or {}).items()]
    return helper.make_graph(nodes, name, inputs, [value(o) for o in outputs], tensors)


def branch(op: str, *inputs: str, name: str, **weights: np.ndarray) -> onnx.GraphProto:
    node = helper.make_node(op, list(inputs), [f"{name}_out"], name=f"{name}_{op}")
    return subgraph([node], [f"{name}_out"], name=name, weights=weights)


class Flow(Builder):
    """A Builder with conditions of Ifs and of Loops, and a trip count, as inputs.

    Args:
        opset: of the model.
        condition: shape of the Ifs' condition.
    """

    def __init__(self, opset: int = 17, condition: Sequence[int] = MORE_AXES) -> None:
        super().__init__(opset)
        self.image = self.input(3, 8, 8)
        self.inputs.append(value("yes", TensorProto.BOOL, condition))
        self.inputs.append(value("on", TensorProto.BOOL, []))
        self.inputs.append(value("times", TensorProto.INT64, []))

    def block(self, x: str, cin: int, cout: int) -> str:
        return self.node("Relu", [self.conv(x, cin, cout)])

    def fork(self, then: onnx.GraphProto, other: onnx.GraphProto, outputs: int = 1):
        return self.node("If", ["yes"], outputs, then_branch=then, else_branch=other)


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_an_activation_that_both_branches_read(opset):
    g = Flow(opset)
    x = g.block(g.image, 3, 8)
    y = g.fork(branch("Neg", x, name="a"), branch("Exp", x, name="b"))
    proto = g.model(g.conv(g.block(y, 8, 6), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    assert {key: why for key, why in kept(proto).items() if why == READ} == {
        "w0.0": READ, "b0.0": READ,
    }  # fmt: skip
    assert "If stays dense" not in kept(proto)["w0.0"]
    prove(proto)


def test_a_tensor_beside_the_fork_is_free():
    """Only what a branch reads is kept; a skip around the If is not read by it."""
    g = Flow()
    x = g.block(g.image, 3, 8)
    y = g.fork(branch("Neg", g.image, name="a"), branch("Abs", g.image, name="b"))
    proto = g.model(g.conv(g.node("Concat", [x, y], axis=1), 11, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_a_weight_that_a_branch_reads_too():
    """The convolution's weight is tied to the branch's: neither shrinks."""
    g = Flow()
    w = g.normal(8, 3, 3, 3)
    x = g.conv(g.image, 3, 8, weight=w)
    y = g.fork(branch("ReduceMax", w, name="a"), branch("ReduceMin", w, name="b"))
    x = g.node("Relu", [g.node("Mul", [x, y])])
    proto = g.model(g.conv(g.block(x, 8, 6), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    assert kept(proto)[f"{w}.0"] == READ
    pruned = prove(proto)
    (left,) = [t for t in pruned.graph.initializer if t.name == w]
    assert left == next(t for t in proto.graph.initializer if t.name == w)


@pytest.mark.parametrize("through", ["itself", "Identity"])
def test_a_shared_vector_that_a_branch_reads(through):
    """Equal vectors are taken apart, but never one that is read by name from inside."""
    g = Flow()
    bias = g.normal(8, stem="b")
    x = g.image
    for cin in (3, 8):
        w = g.normal(8, cin, 3, 3)
        x = g.node("Conv", [x, w, bias], kernel_shape=[3, 3], pads=[1] * 4)
        x = g.node("Relu", [x])
    seen = bias if through == "itself" else g.node("Identity", [bias])
    y = g.fork(branch("ReduceMax", seen, name="a"), branch("ReduceMin", seen, name="b"))
    x = g.node("Mul", [g.block(x, 8, 6), g.node("Reshape", [y, g.ints([1])])])
    proto = g.model(g.conv(x, 6, 5))
    assert bias not in spa.load(proto).private_reads
    assert described(proto) == ["6: b1.0 w2.0 w3.1"]
    assert kept(proto)[f"{bias}.0"] == READ
    pruned = prove(proto)
    assert [t.dims for t in pruned.graph.initializer if t.name == bias] == [[8]]


def test_weights_inside_stay_dense_and_count():
    """Initializers and Constant nodes of branches."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 8, 1, 1)).astype(np.float32)
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(w))
    conv = helper.make_node("Conv", ["h", "c"], ["b_out"], kernel_shape=[1, 1])
    g = Flow()
    h = g.node("Relu", [g.conv(g.image, 3, 8)], ["h"])[0]
    other = subgraph([constant, conv], ["b_out"], name="b")
    y = g.fork(branch("Conv", h, "inner", name="a", inner=w), other)
    proto = g.model(g.conv(g.block(y, 8, 6), 6, 5))
    model = spa.load(proto)
    assert described(model) == ["6: b1.0 w1.0 w2.1"]
    inner = 2 * 64
    cost = spa.measure_cost(model)
    assert cost.params == inner + (8 * 27 + 8) + (6 * 72 + 6) + (5 * 54 + 5)
    pruned = prove(proto)
    assert spa.measure_cost(spa.load(pruned)).params == inner + (8 * 27 + 8) + 3 * 73 + 5 * 27 + 5
    before, after = (
        next(n for n in p.graph.node if n.op_type == "If").attribute for p in (proto, pruned)
    )
    assert list(before) == list(after)


def test_a_branch_that_only_passes_on():
    """ONNX wants a node behind every output of a branch."""
    g = Flow()
    x = g.block(g.image, 3, 8)
    y = g.fork(branch("Neg", x, name="a"), subgraph([], [x], name="b"))
    with pytest.raises(spa.ModelError, match=f"Graph output '{x}' is not an output of any node"):
        spa.load(g.model(g.conv(g.block(y, 8, 6), 6, 5)))


def test_forks_within_forks():
    """What only the innermost branch reads is kept, and so is what the outer one reads."""
    g = Flow()
    x, z = g.block(g.image, 3, 8), g.block(g.image, 3, 8)
    inner = helper.make_node(
        "If", ["yes"], ["inner_out"], name="inner",
        then_branch=branch("Neg", z, name="c"), else_branch=branch("Abs", z, name="d"),
    )  # fmt: skip
    y = g.fork(branch("Exp", x, name="a"), subgraph([inner], ["inner_out"], name="b"))
    proto = g.model(g.conv(g.block(y, 8, 6), 6, 5))
    assert described(proto) == ["6: b2.0 w2.0 w3.1"]
    assert kept(proto)["w0.0"] == kept(proto)["w1.0"] == READ
    prove(proto)


def test_names_that_branches_share():
    """Branches may use one name for different tensors, and so may graphs further in."""
    g = Flow()
    x = g.block(g.image, 3, 8)
    rng = np.random.default_rng(0)
    same = [
        subgraph(
            [helper.make_node(op, [x], ["t"]), helper.make_node("Mul", ["t", "k"], [f"{n}_out"])],
            [f"{n}_out"], name=n, weights={"k": rng.random((8, 1, 1), np.float32)},
        )
        for op, n in (("Neg", "a"), ("Abs", "b"))
    ]  # fmt: skip
    proto = g.model(g.conv(g.block(g.fork(*same), 8, 6), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    prove(proto)
    assert spa.measure_cost(spa.load(proto)).params == 16 + 8 * 28 + 6 * 73 + 5 * 55


def test_names_that_hide_outer_ones():
    """A branch's own weight may have the name of an outer one, which is then not read."""
    g = Flow()
    w = g.normal(8, 3, 3, 3)
    x = g.node("Relu", [g.conv(g.image, 3, 8, weight=w)])
    own = np.ones((8, 1, 1), np.float32)
    y = g.fork(branch("Mul", x, w, name="a", **{w: own}), branch("Neg", x, name="b"))
    z = g.block(g.conv(g.image, 3, 8, weight=w), 8, 4)
    y = g.node("Concat", [g.block(y, 8, 6), z], axis=1)
    proto = g.model(g.conv(y, 10, 5))
    assert w not in spa.load(proto).graph.captured
    assert described(proto) == ["4: b2.0 w1.0 w3.1", "6: b3.0 w2.0 w3.1"]
    prove(proto)


def test_new_constants_take_no_name_from_inside():
    """Surgery names what it adds after the tensor; a subgraph may hold that name already."""
    g = Flow()
    x = g.block(g.image, 3, 8)
    flat = g.reshape(x, [0, 8 * 64])
    taken = f"{flat}_input_1"
    y = g.gemm(flat, 8 * 64, 6)
    node = helper.make_node("Mul", ["yes_as_float", "k"], [taken], name="inner")
    other = subgraph([node], [taken], name="a", weights={"k": np.float32([2])})
    g.node("Cast", ["yes"], ["yes_as_float"], to=TensorProto.FLOAT)
    z = g.fork(other, branch("Neg", "yes_as_float", name="b"))
    proto = g.model(g.node("Add", [y, z]))
    pruned = prove(proto, plain=False)
    names = [t.name for t in pruned.graph.initializer]
    assert taken not in names


# --- Loop and Scan -------------------------------------------------------------------------------


def loop_body(nodes, state: str, **weights: np.ndarray) -> onnx.GraphProto:
    """One carried state; the condition passes through."""
    nodes = [*nodes, helper.make_node("Identity", ["go"], ["go_on"])]
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s")]
    body = subgraph(nodes, ["go_on", state], inputs=inputs, weights=weights)
    body.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    return body


@pytest.mark.parametrize("trips", ["times", "constant", ""])
def test_a_loop_keeps_what_it_carries(trips):
    """The state's first value is kept, the loop's output is not followed, what follows is free."""
    rng = np.random.default_rng(0)
    g = Flow()
    x = g.block(g.image, 3, 8)
    w = rng.standard_normal((8, 8, 1, 1)).astype(np.float32) / 4
    stop = [helper.make_node("Less", ["i", "three"], ["go_on"])] if not trips else []
    nodes = [helper.make_node("Conv", ["s", "inner"], ["next"], kernel_shape=[1, 1])]
    body = loop_body(nodes, "next", inner=w, three=np.int64(3))
    if stop:
        body.node[-1].CopyFrom(stop[0])
    count = {"times": "times", "constant": g.ints(3), "": ""}[trips]
    y = g.node("Loop", [count, "" if trips else "on", x], body=body)
    proto = g.model(g.conv(g.block(y, 8, 6), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    reason = kept(proto)["w0.0"]
    assert reason.startswith("8 of 8: Loop stays dense: its subgraphs")
    prove(proto)


def test_a_loop_that_reads_from_outside():
    """An activation and a weight of the outer graph, in every round, one graph further in."""
    g = Flow()
    x, z = g.block(g.image, 3, 8), g.block(g.image, 3, 8)
    gain = g.weight(np.linspace(0.5, 1, 8, dtype=np.float32).reshape(8, 1, 1), "gain")
    fork = helper.make_node(
        "If", ["go"], ["next"],
        then_branch=branch("Mul", z, gain, name="a"), else_branch=branch("Neg", z, name="b"),
    )  # fmt: skip
    nodes = [fork, helper.make_node("Add", ["s", "next"], ["sum"])]
    y = g.node("Loop", ["times", "on", x], body=loop_body(nodes, "sum"))
    proto = g.model(g.conv(g.block(y, 8, 6), 6, 5))
    assert described(proto) == ["6: b2.0 w2.0 w3.1"]
    reasons = kept(proto)
    assert reasons["w1.0"] == reasons[f"{gain}.0"] == READ
    assert "Loop stays dense" in reasons["w0.0"]
    prove(proto)


def test_a_scan_keeps_what_it_scans_and_carries():
    g = Flow()
    x = g.block(g.image, 3, 8)
    first = g.block(g.node("GlobalAveragePool", [g.image]), 3, 8)
    first = g.node("Flatten", [first])
    rows = g.node("Transpose", [g.node("GlobalMaxPool", [x])], perm=[2, 0, 1, 3])
    rows = g.squeeze(rows, [3])
    w = g.normal(8, 8)
    nodes = [
        helper.make_node("MatMul", ["row", w], ["h"]),
        helper.make_node("Add", ["h", "s"], ["next"]),
        helper.make_node("Tanh", ["next"], ["out"]),
    ]
    body = subgraph(nodes, ["next", "out"], inputs=[value("s"), value("row")])
    state, out = g.node("Scan", [first, rows], 2, body=body, num_scan_inputs=1)
    y = g.node("Relu", [g.gemm(g.node("Add", [state, g.squeeze(out, [0])]), 8, 6)])
    proto = g.model(g.gemm(y, 6, 5))
    lines = described(proto)
    assert lines == ["6: b2.0 w3.0 w4.1"]
    reasons = kept(proto)
    assert reasons[f"{w}.0"] == reasons[f"{w}.1"] == READ
    assert all("Scan stays dense" in reasons[key] for key in ("w0.0", "w1.0"))
    prove(proto)


def test_weights_that_only_subgraphs_read_are_shown():
    """An exporter may keep the weights of its branches in the main graph."""
    g = Flow()
    w, v = g.normal(8, 3, 3, 3), g.normal(8, 3, 3, 3)
    y = g.fork(branch("Conv", g.image, w, name="a"), branch("Conv", g.image, v, name="b"))
    proto = g.model(y)
    assert described(proto) == []
    assert {kept(proto)[f"{name}.0"] for name in (w, v)} == {READ}
