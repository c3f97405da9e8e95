"""Half, brain and double precision: loaded, scored in single precision, cut, written and proven."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.pruning.proof.closeness import TOLERANCE, tolerance_of
from tests.coupling.cases import described
from tests.graphs import Builder, classifier
from tests.oracles import assert_equals_zeroed

HALF, BRAIN, DOUBLE = TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE


def recast(tensor: onnx.TensorProto, kind: int) -> onnx.TensorProto:
    value = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
    return numpy_helper.from_array(value, tensor.name)


def computed_in(proto: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """The model with weights, inputs and outputs of another floating type."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for tensor in result.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(recast(tensor, kind))
    for value in (*result.graph.input, *result.graph.output):
        value.type.tensor_type.elem_type = kind
    return result


def stored_in(proto: onnx.ModelProto, kind: int, *, constants: bool = False) -> onnx.ModelProto:
    """The model with weights of another type, which are cast to float where they are read."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    nodes = []
    for tensor in list(result.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        small = recast(tensor, kind)
        small.name = f"{tensor.name}_small"
        result.graph.initializer.remove(tensor)
        if constants:
            nodes.append(helper.make_node("Constant", [], [small.name], value=small))
        else:
            result.graph.initializer.append(small)
        nodes.append(helper.make_node("Cast", [small.name], [tensor.name], to=TensorProto.FLOAT))
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def cast_inside(proto: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """The model in another type, with float inputs and outputs and a Cast at each."""
    result = computed_in(proto, kind)
    first, last = result.graph.input[0], result.graph.output[0]
    for node in result.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name in (first.name, last.name):
                    names[i] = f"{name}_inside"
    nodes = [helper.make_node("Cast", [first.name], [f"{first.name}_inside"], to=kind)]
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in result.graph.node]
    nodes.append(
        helper.make_node("Cast", [f"{last.name}_inside"], [last.name], to=TensorProto.FLOAT)
    )
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    for value in (first, last):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    return result


def types_of(proto: onnx.ModelProto) -> dict[str, int]:
    found = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            found[node.output[0]] = node.attribute[0].t.data_type
    return found


FORMS = {
    "half": (lambda p: computed_in(p, HALF), 2e-2),
    "half inside": (lambda p: cast_inside(p, HALF), 2e-2),
    "half stored": (lambda p: stored_in(p, HALF), 1e-5),
    "half stored in nodes": (lambda p: stored_in(p, HALF, constants=True), 1e-5),
    "brain stored": (lambda p: stored_in(p, BRAIN), 1e-5),
    "brain stored in nodes": (lambda p: stored_in(p, BRAIN, constants=True), 1e-5),
    "double": (lambda p: computed_in(p, DOUBLE), 1e-9),
    "double inside": (lambda p: cast_inside(p, DOUBLE), 1e-6),
    "double stored": (lambda p: stored_in(p, DOUBLE), 1e-5),
}


def perceptron(opset: int = 17) -> onnx.ModelProto:
    """ONNX Runtime has no convolution in double precision."""
    g = Builder(opset)
    x = g.node("Relu", [g.batch_norm(g.gemm(g.input(7), 7, 16), 16)])
    x = g.node("Add", [x, g.gemm(g.node("Relu", [g.gemm(x, 16, 12)]), 12, 16)])
    y = g.gemm(x, 16, 5)
    return g.model(y, dims=[["N", 5]])


@pytest.mark.parametrize("opset", [13, 17, 22])
@pytest.mark.parametrize("form", FORMS)
def test_a_net_in_every_precision(form, opset, tmp_path):
    """The groups, the plan and the types are those of the float model."""
    change, tolerance = FORMS[form]
    single = (perceptron if "double" in form else classifier)(opset=opset)
    proto = change(single)
    expected = [line.replace("_small", "") for line in described(single)]
    assert [line.replace("_small", "") for line in described(proto)] == expected
    source = tmp_path / "model.onnx"
    onnx.save(proto, source)
    result = spa.prune(str(source), rf=2.0)
    assert result.plan.exact
    assert result.proof is not None
    assert result.proof.equal
    onnx.save(result.model, tmp_path / "smaller.onnx")
    smaller = onnx.load(tmp_path / "smaller.onnx")
    kinds = types_of(proto)
    left = {name: kind for name, kind in types_of(smaller).items() if name in kinds}
    assert left == {name: kinds[name] for name in left}
    assert_equals_zeroed(proto, smaller, result.plan.to_json(), tolerance=tolerance)


@pytest.mark.parametrize("form", ["half", "brain stored"])
def test_the_proof_of_a_coarse_model_can_fail(form):
    """What rounding allows is far below what one wrong weight does."""
    change, _ = FORMS[form]
    model = spa.load(change(classifier()))
    result = spa.prune(model, rf=1.5)
    wrong = onnx.ModelProto()
    wrong.CopyFrom(result.model)
    tensor = next(t for t in wrong.graph.initializer if t.name.startswith("w5"))
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(value[::-1].copy(), tensor.name))
    with pytest.raises(spa.VerificationError, match="differs"):
        spa.verify(model, wrong, result.plan)


def test_the_tolerance_is_that_of_the_coarsest_type_that_is_computed_with():
    """Weights that are only stored in half precision are exact numbers."""
    single = classifier()
    assert tolerance_of(spa.load(single)) == TOLERANCE
    assert tolerance_of(spa.load(stored_in(single, BRAIN))) == TOLERANCE
    assert tolerance_of(spa.load(computed_in(perceptron(), DOUBLE))) == TOLERANCE
    assert 1e-3 < tolerance_of(spa.load(cast_inside(single, HALF))) < 1e-2


@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize("kind", [HALF, BRAIN, DOUBLE])
def test_scores_are_those_of_single_precision(kind, criterion):
    proto = stored_in(classifier(), kind)
    same = onnx.ModelProto()
    same.CopyFrom(proto)
    for tensor in same.graph.initializer:
        if tensor.data_type == kind:
            tensor.CopyFrom(recast(tensor, TensorProto.FLOAT))
    scores = [
        spa.score(model, spa.find_groups(model), criterion, normalize="none").by_group
        for model in (spa.load(proto), spa.load(same))
    ]
    assert list(scores[0]) == list(scores[1])
    for a, b in zip(*(s.values() for s in scores), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("kind", [HALF, BRAIN])
@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_large_weights_do_not_overflow(criterion, kind):
    """Their sums, and their squares, are far beyond half precision."""
    g = Builder()
    large = g.weight((30000 + 1000 * np.arange(8)[:, None] * np.ones(64)).astype(np.float32))
    x = g.node("Relu", [g.node("Gemm", [g.input(64), large], transB=1)])
    proto = stored_in(g.model(g.gemm(x, 8, 3, bias=False)), kind)
    model = spa.load(proto)
    (values,) = spa.score(model, spa.find_groups(model), criterion).by_group.values()
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("kind", [HALF, BRAIN, DOUBLE])
def test_batch_norm_scales_of_any_precision(kind):
    model = spa.load(stored_in(classifier(), kind))
    scores = spa.score(model, spa.find_groups(model), "bn_scale")
    assert scores.by_group
    assert all(np.isfinite(values).all() for values in scores.by_group.values())


def test_a_type_that_the_runtime_has_no_convolution_for_is_refused():
    """ONNX Runtime's reason names the node; nothing is written that was not run."""
    with pytest.raises(spa.ModelError, match="n_conv_0"):
        spa.load(computed_in(classifier(), DOUBLE))


def test_inputs_of_a_type_that_numpy_lacks_are_refused():
    with pytest.raises(spa.InputError, match="takes brain floats"):
        spa.load(computed_in(classifier(), BRAIN))
