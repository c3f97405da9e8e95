"""Weights wherever a file can keep them: the same groups, the same cut, in the same place."""

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from tests.cli.conftest import good, spa_  # noqa: F401  (fixtures)
from tests.coupling.cases import described, prove
from tests.coupling.test_subgraphs import Flow, branch
from tests.graphs import STORAGES, Builder, classifier
from tests.oracles import assert_equals_zeroed, random_feeds, run


def held(proto: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of all that the file holds, by how it holds it and by name."""
    found = {f"initializer {t.name}": list(t.dims) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            (attribute,) = node.attribute
            found[f"Constant {node.output[0]}"] = list(attribute.t.dims)
    return found


# --- plain ones ----------------------------------------------------------------------------------


def typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With numbers in protobuf's own lists instead of raw bytes."""
    result = copy.deepcopy(proto)
    for tensor in result.graph.initializer:
        value = numpy_helper.to_array(tensor)
        tensor.ClearField("raw_data")
        field = tensor.int64_data if value.dtype.kind == "i" else tensor.float_data
        field.extend(value.reshape(-1).tolist())
    return result


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("storage", STORAGES)
def test_every_place_in_the_file(storage, batch):
    proto = classifier(storage=storage, batch=batch)
    pruned = prove(proto, plain=storage == "initializer", seeds=(0,))
    before, after = held(proto), held(pruned)
    assert before.keys() == after.keys()
    assert before != after
    declared = {value.name: value for value in pruned.graph.input}
    for tensor in pruned.graph.initializer:
        if tensor.name in declared:
            dims = declared[tensor.name].type.tensor_type.shape.dim
            assert [dim.dim_value for dim in dims] == list(tensor.dims)


def test_lists_of_numbers_instead_of_bytes():
    plain = classifier()
    proto = typed(plain)
    assert described(proto) == described(plain)
    prove(proto, seeds=(0,))


def test_constants_of_every_attribute():
    """A bias as ``value_floats``, a factor as ``value_float``, a shape as ``value_ints``, an axis
    as ``value_int``; what is cut becomes a tensor."""
    g = Builder(17)
    bias = g.node("Constant", [], value_floats=[0.1 * i for i in range(8)])
    half = g.node("Constant", [], value_float=0.5)
    target = g.node("Constant", [], value_ints=[0, 8, 4, 16])
    axis = g.node("Constant", [], value_int=2)
    x = g.node("Conv", [g.input(3, 8, 8), g.normal(8, 3, 3, 3), bias], pads=[1] * 4)
    x = g.node("CumSum", [g.node("Mul", [x, half]), axis])
    proto = g.model(g.conv(g.node("Reshape", [x, target]), 8, 5))
    assert described(proto) == [f"8: {bias}.0 w0.0 w1.1"]
    pruned = prove(proto, plain=False)
    values = {n.output[0]: n.attribute[0] for n in pruned.graph.node if n.op_type == "Constant"}
    assert values[bias].name == "value"
    assert list(values[bias].t.dims) == [4]
    assert values[half].name == "value_float"


# --- sparse --------------------------------------------------------------------------------------


def sparse(name: str, value: np.ndarray, *, linear: bool = True) -> onnx.SparseTensorProto:
    flat = value.reshape(-1)
    places = np.flatnonzero(flat)
    indices = places if linear else np.stack(np.unravel_index(places, value.shape), axis=1)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(flat[places], name),
        numpy_helper.from_array(indices.astype(np.int64), f"{name}_indices"),
        value.shape,
    )


def thin(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    value = rng.standard_normal(shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.3, value, 0).astype(np.float32)


def sparse_net(kind: str, linear: bool = True) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A net whose first weight is sparse, and the same net all dense."""
    nets = []
    for how in (kind, "dense"):
        g = Builder(17)
        x, value = g.input(6), thin(6, 8)
        if how == "Constant":
            attribute = sparse("w", value, linear=linear)
            w = g.node("Constant", [], ["w"], sparse_value=attribute)[0]
        elif how == "initializer":
            w = "w"
        else:
            g.initializers.append(numpy_helper.from_array(value, "w"))
            w = "w"
        x = g.node("Relu", [g.node("MatMul", [x, w])])
        proto = g.model(g.gemm(x, 8, 5), dims=[["N", 5]])
        if how == "initializer":
            proto.graph.sparse_initializer.append(sparse("w", value, linear=linear))
        nets.append(proto)
    return nets[0], nets[1]


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("kind", ["initializer", "Constant"])
def test_sparse_weights_come_back_dense(kind, linear):
    proto, dense = sparse_net(kind, linear)
    onnx.checker.check_model(proto)
    before = proto.SerializeToString(deterministic=True)
    assert described(proto) == described(dense) == ["8: w.1 w0.1"]
    assert spa.measure_cost(spa.load(proto)) == spa.measure_cost(spa.load(dense))
    result = spa.prune(proto, ratio=0.5)
    assert result.proof.equal
    assert not result.model.graph.sparse_initializer
    assert held(result.model)[f"{kind} w"] == [6, 4]
    assert_equals_zeroed(dense, result.model, result.plan.to_json())
    assert proto.SerializeToString(deterministic=True) == before


def test_sparse_weights_of_a_branch():
    g = Flow()
    x = g.node("Relu", [g.gemm(g.node("Flatten", [g.image]), 192, 6)])
    then = branch("MatMul", x, "s", name="a")
    then.sparse_initializer.append(sparse("s", thin(6, 8)))
    y = g.fork(then, branch("MatMul", x, "d", name="b", d=thin(6, 8)))
    y = g.node("Relu", [g.node("MatMul", [y, g.normal(8, 7)])])
    proto = g.model(g.gemm(y, 7, 5))
    assert described(proto) == ["7: w1.1 w2.1"]
    assert spa.prune(proto, ratio=0.5).proof.equal


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.dims.__setitem__(0, 2), "damaged"),
        (lambda t: t.dims.__setitem__(0, 10**12), "would take more than"),
        (lambda t: t.dims.__setitem__(0, -1), "would take more than|negative"),
        (lambda t: t.indices.int64_data.__setitem__(0, -5), "place is negative"),
        (lambda t: t.values.ClearField("float_data"), "damaged"),
        (lambda t: t.values.__setattr__("data_type", 77), "damaged"),
    ],
)
def test_damaged_sparse_weights(damage, words):
    proto, _ = sparse_net("initializer")
    tensor = proto.graph.sparse_initializer[0]
    for part in (tensor.values, tensor.indices):
        value = numpy_helper.to_array(part)
        part.ClearField("raw_data")
        (part.int64_data if value.dtype.kind == "i" else part.float_data).extend(value.tolist())
    damage(tensor)
    with pytest.raises(spa.ModelError, match=words):
        spa.load(proto)


# --- external data -------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
def test_external_weights(good, tmp_path, together):  # noqa: F811
    """In one file with offsets or in one file each; as an attribute's value too."""
    proto = classifier()
    constants = classifier(storage="constant", seed=1)
    for number, (plain, attributes) in enumerate(((proto, False), (constants, True))):
        folder, out = tmp_path / f"in{number}", tmp_path / f"out{number}.onnx"
        folder.mkdir()
        onnx.save(
            copy.deepcopy(plain), folder / "m.onnx", save_as_external_data=True,
            all_tensors_to_one_file=together, location="weights.bin" if together else None,
            size_threshold=0, convert_attribute=attributes,
        )  # fmt: skip
        assert len(list(folder.iterdir())) > (1 if together else 15)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        good("prune", folder / "m.onnx", "-o", out, "--rf", 2, "--plan", f"{out}.json")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        pruned = onnx.load(out, load_external_data=False)
        assert not any(t.external_data for t in pruned.graph.initializer)
        plan = spa.Plan.load(f"{out}.json").to_json()
        assert_equals_zeroed(plain, pruned, plan)


def test_external_data_of_a_model_in_memory(tmp_path):
    """A proto does not say which folder it was read from."""
    onnx.save(classifier(), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    with pytest.raises(spa.ModelError, match="external data"):
        spa.load(proto)


def test_the_pruned_file_runs_from_where_it_is(good, tmp_path, monkeypatch):  # noqa: F811
    """With weights beside it again, as over 2 GB."""
    monkeypatch.setattr("spa.graph.write.MAX_INLINE_BYTES", 1000)
    source, out = tmp_path / "m.onnx", tmp_path / "o.onnx"
    onnx.save(classifier(), source)
    good("prune", source, "-o", out, "--rf", 2)
    assert (tmp_path / "o.onnx.data").stat().st_size > 1000
    light = onnx.load(out, load_external_data=False)
    outside = [t.name for t in light.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert outside
    assert not any(t.raw_data for t in light.graph.initializer if t.name in outside)
    onnx.checker.check_model(str(out), full_check=True)
    feeds = random_feeds(classifier(), 0, batch=2)
    expected = spa.prune(source, rf=2).model
    for name, want in run(expected, feeds).items():
        np.testing.assert_array_equal(run(onnx.load(out), feeds)[name], want)
