"""What a loaded model knows: functions inlined, where parameters live, which values are fixed."""

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.graph.nodes import Use
from tests.coupling.cases import described
from tests.graphs import STORAGES, Builder, classifier
from tests.oracles import run

# --- the file stays as it came -------------------------------------------------------------------


def test_loading_and_pruning_change_nothing():
    proto = classifier()
    before = proto.SerializeToString(deterministic=True)
    model = spa.load(proto)
    spa.prune(model, ratio=0.5)
    assert proto.SerializeToString(deterministic=True) == before
    assert not model.array("w0").flags.writeable


def test_a_module_needs_inputs():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5))
    with pytest.raises(spa.InputError, match="needs example inputs"):
        spa.load(net)
    model = spa.load(net, torch.zeros(2, 6))
    assert set(model.parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert model.varies("input", 0)


# --- functions -----------------------------------------------------------------------------------


def _with_function(calls: int = 2) -> onnx.ModelProto:
    """Local functions: a block of Conv and Relu, and one that calls it."""
    domain = "local"
    opset = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    block = helper.make_function(
        domain, "Block", ["x", "w", "b"], ["y"],
        [helper.make_node("Conv", ["x", "w", "b"], ["h"], kernel_shape=[3, 3], pads=[1] * 4),
         helper.make_node("Relu", ["h"], ["y"])],
        opset[:1],
    )  # fmt: skip
    outer = helper.make_function(
        domain, "Outer", ["x", "w", "b"], ["y"],
        [helper.make_node("Block", ["x", "w", "b"], ["h"], domain=domain),
         helper.make_node("Add", ["h", "h"], ["y"])],
        opset,
    )  # fmt: skip
    g = Builder()
    x, cin = g.input(3, 8, 8), 3
    for cout in (8, 12)[:calls]:
        x = g.node("Outer", [x, g.normal(cout, cin, 3, 3), g.normal(cout, stem="b")], domain=domain)
        cin = cout
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    proto = g.model(g.gemm(x, cin, 5))
    proto.functions.extend([block, outer])
    return proto


def test_functions_are_inlined_and_pruned():
    """Each call's sizes follow on their own."""
    proto = _with_function()
    model = spa.load(proto)
    assert not model.proto.functions
    assert [node.op for node in model.graph.nodes].count("Conv") == 2
    assert described(model) == ["12: b1.0 w1.0 w2.1", "8: b0.0 w0.0 w1.1"]
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    assert result.reached.rf > 1.5
    feeds = {"x": np.ones((1, 3, 8, 8), np.float32)}
    np.testing.assert_allclose(*(list(run(p, feeds).values())[0] for p in (proto, model.proto)),
                               rtol=1e-5)  # fmt: skip


def test_functions_that_call_each_other_for_ever():
    proto = _with_function()
    block = proto.functions[0]
    del block.node[:]
    block.node.append(helper.make_node("Outer", ["x", "w", "b"], ["y"], domain="local"))
    block.opset_import.append(helper.make_opsetid("local", 1))
    with pytest.raises(spa.ModelError, match="The model: its local functions .*recursive"):
        spa.load(proto)


def test_a_call_of_a_function_that_is_not_there():
    proto = _with_function()
    del proto.functions[:]
    with pytest.raises(spa.ModelError, match="Outer|local"):
        spa.load(proto)


# --- where parameters live -----------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
def test_parameters_and_groups_do_not_depend_on_the_storage(storage):
    plain, model = spa.load(classifier()), spa.load(classifier(storage=storage))
    assert set(model.parameters) == set(plain.parameters)
    assert spa.measure_cost(model) == spa.measure_cost(plain)
    for name in plain.parameters:
        np.testing.assert_array_equal(model.array(name), plain.array(name))
    assert described(model) == described(plain)


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"value_float": 2.5}, np.float32(2.5)),
        ({"value_floats": [1.0, 2.0]}, np.float32([1, 2])),
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [3, 4]}, np.int64([3, 4])),
        ({"value": numpy_helper.from_array(np.float64([[1], [2]]))}, np.float64([[1], [2]])),
    ],
)
def test_every_way_to_write_a_constant(attribute, expected):
    g = Builder()
    name = g.node("Constant", [], **attribute)
    g.node("Identity", [name])
    model = spa.load(g.model(g.conv(g.input(3, 8, 8), 3, 4)))
    assert model.array(name).dtype == expected.dtype
    np.testing.assert_array_equal(model.array(name), expected)


def test_a_constant_of_strings_is_no_parameter():
    g = Builder()
    name = g.node("Constant", [], value_strings=["a", "b"])
    model = spa.load(g.model(g.conv(g.input(3, 8, 8), 3, 4), g.node("Shape", [name])))
    assert name not in model.parameters


def _fill(g: Builder, shape: str, value) -> str:
    tensor = numpy_helper.from_array(np.array([value]))
    return g.node("ConstantOfShape", [shape], value=tensor)


def test_filled_tensors():
    """A weight where the shape is fixed and the value a float; else not."""
    g = Builder()
    x = g.input(4, 8, 8)
    weight = _fill(g, g.ints([6, 4, 3, 3]), np.float32(0.5))
    whole = _fill(g, g.ints([6]), np.int64(1))
    dynamic = _fill(g, g.node("Shape", [x]), np.float32(1))
    plain = g.node("ConstantOfShape", [g.ints([4, 1, 1])])
    x = g.node("Add", [g.node("Mul", [x, dynamic]), plain])
    model = spa.load(g.model(g.conv(x, 4, 6, weight=weight), g.node("Abs", [whole])))
    assert {name for name, tensor in model.parameters.items() if tensor is None} == {weight}
    np.testing.assert_array_equal(model.array(weight), np.full((6, 4, 3, 3), np.float32(0.5)))
    assert weight in model.counted_parameters
    assert model.graph.captured == frozenset()


def test_identities_in_a_row():
    g = Builder()
    w = g.normal(8, 3, 3, 3)
    once = g.node("Identity", [w])
    twice = g.node("Identity", [once])
    x = g.input(3, 8, 8)
    other = g.node("Identity", [x])
    model = spa.load(g.model(g.conv(other, 3, 8, weight=twice)))
    assert model.aliases == {once: w, twice: w}
    assert [model.root(name) for name in (w, once, twice, other)] == [w, w, w, other]
    assert spa.measure_cost(model).params == 8 * 27 + 8


# --- tensors that exporters share ----------------------------------------------------------------


def _two_norms(scale: str | None = None, *, storage: str | None = None):
    """Two batch norms whose scale is one tensor, and whose mean and variance are one each."""
    g = Builder()
    ones = g.weight(np.ones(8, np.float32), "ones", storage)
    zeros = g.weight(np.zeros(8, np.float32), "zeros", storage)
    x = g.conv(g.input(3, 8, 8), 3, 8, bias=False)
    x = g.node("BatchNormalization", [x, ones, zeros, zeros, ones])
    x = g.conv(g.node("Relu", [x]), 8, 8, bias=False)
    x = g.node("BatchNormalization", [x, ones, zeros, zeros, ones])
    return g.model(g.conv(g.node("Relu", [x]), 8, 5))


@pytest.mark.parametrize("storage", ["initializer", "constant"])
def test_vectors_that_happen_to_be_equal_are_taken_apart(storage):
    """Ones are the scale and the variance of both batch norms; they lose other channels each."""
    model = spa.load(_two_norms(storage=storage))
    norms = [node.index for node in model.graph.nodes if node.op == "BatchNormalization"]
    assert model.private_reads["ones0"] == tuple(
        Use(node, position) for node in norms for position in (1, 4)
    )
    assert model.private_reads["zeros0"] == tuple(
        Use(node, position) for node in norms for position in (2, 3)
    )
    # Two scales and two shifts count; running statistics do not.
    assert model.counted_reads("ones0") == model.counted_reads("zeros0") == 2
    assert spa.measure_cost(model).params == 8 * 27 + 8 * 72 + 5 * 72 + 5 + 4 * 8
    result = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    assert spa.measure_cost(spa.load(result.model)) == result.pruned


def test_what_is_shared_on_purpose_stays_shared():
    """A matrix of two reads is tied; so is a vector that the model gives out."""
    g = Builder()
    w, b = g.normal(8, 8, 3, 3), g.normal(8, stem="b")
    x = g.conv(g.input(3, 8, 8), 3, 8)
    for _ in range(2):
        x = g.node("Relu", [g.node("Conv", [x, w, b], kernel_shape=[3, 3], pads=[1] * 4)])
    model = spa.load(g.model(g.conv(x, 8, 5)))
    assert set(model.private_reads) == {b}
    assert model.counted_reads(w) == 1
    assert model.counted_reads(b) == 2
    g.node("Identity", [b], ["out"])
    model = spa.load(g.model(g.conv(x, 8, 5), b))
    assert b not in model.private_reads


def test_constant_matrices_are_shared_by_coincidence():
    g = Builder()
    w = g.weight(np.full((8, 8, 1, 1), 0.25, np.float32))
    x = g.conv(g.input(8, 4, 4), 8, 8)
    for _ in range(2):
        x = g.node("Relu", [g.node("Conv", [x, w], kernel_shape=[1, 1])])
    model = spa.load(g.model(g.conv(x, 8, 5)))
    assert len(model.private_reads[w]) == 2


def test_statistics_alone_count_nothing():
    g = Builder()
    x = g.batch_norm(g.conv(g.input(3, 8, 8), 3, 8, bias=False), 8)
    model = spa.load(g.model(g.conv(x, 8, 5, 1)))
    assert [model.counted_reads(n) for n in ("scale0", "shift0", "mean0", "var0")] == [1, 1, 0, 0]
    assert spa.measure_cost(model).params == 8 * 27 + 2 * 8 + 5 * 8 + 5


# --- fixed and varying ---------------------------------------------------------------------------


def _with_shapes():
    """Values of every kind: from the file, from fixed sizes, from free ones, from the data."""
    g = Builder()
    x = g.input(3, 8, 8)
    shape = g.node("Shape", [x])
    names = {
        "file": g.ints([1, 2]),
        "channels": g.slice(shape, 1, 2, axis=0),
        "batch": g.slice(shape, 0, 1, axis=0),
        "whole": shape,
        "data": g.node("Cast", [g.reduce("ReduceMax", x, [0, 1, 2, 3])], to=TensorProto.INT64),
        "size of data": g.node("Shape", [g.node("NonZero", [x])]),
    }
    names["sum"] = g.node("Add", [names["channels"], g.ints([4])])
    names["batch less itself"] = g.node("Sub", [names["batch"], names["batch"]])
    outputs = [g.node("Identity", [name]) for name in names.values()]
    proto = g.model(*outputs)
    for output in proto.graph.output:
        output.type.tensor_type.elem_type = TensorProto.INT64
    return proto, names


def test_static_values():
    proto, names = _with_shapes()
    model = spa.load(proto)
    found = {key: model.static_value(name) for key, name in names.items()}
    assert found["file"].tolist() == [1, 2]
    assert found["channels"].tolist() == [3]
    assert found["sum"].tolist() == [7]
    assert found["batch less itself"].tolist() == [0]
    # A batch of another size, or other data, gives another value.
    assert [key for key, value in found.items() if value is None] == ["batch", "whole", "data"] + (
        [] if found["size of data"] is not None else ["size of data"]
    )
    assert model.static_value("") is None
    assert model.static_value("x") is None


def test_all_is_static_where_nothing_is_free():
    g = Builder(batch=2)
    shape = g.node("Shape", [g.input(3, 8, 8)])
    proto = g.model(g.node("Identity", [shape]))
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    model = spa.load(proto)
    assert model.varied is None
    assert model.static_value(shape).tolist() == [2, 3, 8, 8]
    assert not model.varies("x", 0)


def test_large_values_are_not_kept():
    """But for lists of indices, which may be as long as what they are picked from."""
    g = Builder()
    big = g.weight(np.zeros((70, 70), np.float32), "big", "initializer")
    indices = g.weight(np.zeros((70, 70), np.int64), "indices", "initializer")
    outputs = [g.node("Abs", [name]) for name in (big, indices)]
    model = spa.load(g.model(g.conv(g.input(3, 8, 8), 3, 4), *outputs))
    assert model.static_value(big) is None
    assert model.static_value(indices).shape == (70, 70)


def test_axes_that_vary():
    model = spa.load(classifier(batch="N"))
    for name in ("x", "conv_0", model.graph.outputs[0]):
        assert model.varies(name, 0)
        assert not model.varies(name, 1)
    assert not model.varies("w0", 0)
    assert not model.varies("nothing of this name", 0)


def test_constants_are_what_parameters_alone_give():
    g = Builder()
    w = g.normal(8, 3, 3, 3)
    half = g.node("Mul", [w, g.weight(np.float32(0.5), "half", "initializer")])
    x = g.conv(g.input(3, 8, 8), 3, 8, weight=half)
    model = spa.load(g.model(x))
    assert {w, half} <= model.constants
    assert not {"x", x} & model.constants


def test_other_weights_of_the_same_structure():
    model = spa.load(classifier())
    changed = copy.deepcopy(model.proto)
    changed.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "w0")
    )
    assert model.array("w0").any()  # read, and kept
    other = model.with_weights(changed)
    assert not other.array("w0").any()
    assert model.array("w0").any()
    assert other.sha256 != model.sha256
    assert other.shapes == model.shapes


# --- subgraphs -----------------------------------------------------------------------------------


def test_what_subgraphs_read_is_captured():
    def branch(name, source):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        node = helper.make_node("Mul", [source, "gain"], [f"{name}_out"])
        return helper.make_graph([node], name, [], [out])

    g = Builder()
    gain = np.float32(np.linspace(1, 2, 8)).reshape(8, 1, 1)
    g.initializers.append(numpy_helper.from_array(gain, "gain"))
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    size = g.node("Size", [x])
    many = g.weight(np.full((1,) * 5, 10**6))  # a condition of so many axes keeps an If
    truth = g.node("Greater", [size, many])
    y = g.node("If", [truth], then_branch=branch("a", x), else_branch=branch("b", x))
    model = spa.load(g.model(g.conv(y, 8, 5)))
    assert model.graph.captured == {x, "gain"}
    (node,) = [node for node in model.graph.nodes if node.op == "If"]
    assert set(node.captured) == {x, "gain"}
    assert "then_branch" not in node.attrs
    # What a subgraph reads is never cut; the rest is pruned as ever.
    result = spa.prune(_deeper(model.proto), ratio=0.5)
    assert result.proof.equal


def _deeper(proto: onnx.ModelProto) -> onnx.ModelProto:
    """One more convolution at the end, which can lose its inputs."""
    result = copy.deepcopy(proto)
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 5, 1, 1)).astype(np.float32)
    result.graph.initializer.append(numpy_helper.from_array(weight, "last"))
    node = helper.make_node("Conv", [proto.graph.output[0].name, "last"], ["y"], name="last_conv")
    result.graph.node.append(node)
    result.graph.output[0].name = "y"
    return result
