"""The proof must be able to fail, and must not fail for reasons of its own."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.coupling.zeros import contracted_parameters
from spa.errors import RunError
from spa.graph.execute import run
from spa.graph.opened import Opened
from spa.pruning.comparison import zeroed
from spa.pruning.plan import cut_of
from spa.pruning.proof import outputs
from spa.pruning.redraw import randomised
from spa.pruning.verify import verify_outputs
from tests.graphs import STORAGES, Builder, classifier, initializer, node_of


def _pruned(proto, **kwargs):
    model = spa.load(proto)
    result = spa.prune(model, **{"ratio": 0.5, "limits": spa.Limits(scope="local"), **kwargs})
    return model, result


def _outputs(model, proto, plan):
    """The part of the proof that looks at what is computed alone, whatever the file holds."""
    groups = spa.find_groups(model)
    return verify_outputs(model, proto, cut_of(plan, groups.coupling), groups)


def _set(proto, name, value):
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(value, name))
    return copy


def test_a_proof_says_what_was_checked():
    model, result = _pruned(classifier())
    assert result.proof.equal
    assert result.proof.difference < 1e-5
    text = " ".join(result.proof.checks)
    assert "full shape inference" in text
    assert result.proof.sizes == ("x 1x3x8x8", "x 3x3x8x8", "x 5x3x8x8", "x 7x3x8x8")
    assert all(sizes in text for sizes in result.proof.sizes)
    assert result.proof.untried == ()
    assert "equals the zeroed dense model" in text


@pytest.mark.parametrize("name", ["w0", "w3", "b0", "scale1", "var0", "w5"])
def test_one_changed_weight_fails(name):
    model, result = _pruned(classifier())
    # A whole tensor: any one channel may be dead on the example (its ReLU never fires).
    value = initializer(result.model, name) + np.float32(0.5)
    with pytest.raises(spa.VerificationError, match="differs"):
        _outputs(model, _set(result.model, name, value), result.plan)


def test_swapped_channels_fail():
    model, result = _pruned(classifier())
    value = initializer(result.model, "w4")[::-1].copy()
    with pytest.raises(spa.VerificationError, match="differs"):
        _outputs(model, _set(result.model, "w4", value), result.plan)


def test_nan_fails():
    model, result = _pruned(classifier())
    value = initializer(result.model, "w5").copy()
    value[0] = np.nan
    with pytest.raises(spa.VerificationError, match="differs"):
        _outputs(model, _set(result.model, "w5", value), result.plan)


def test_a_wrong_shape_fails():
    model, result = _pruned(classifier())
    value = np.concatenate([initializer(result.model, "w4")] * 2)
    with pytest.raises(spa.VerificationError):
        spa.verify(model, _set(result.model, "w4", value), result.plan)


@pytest.mark.parametrize("change", ["input name", "output name", "batch", "type", "extra output"])
def test_another_interface_fails(change):
    model, result = _pruned(classifier())
    proto = onnx.ModelProto()
    proto.CopyFrom(result.model)
    if change == "input name":
        proto.graph.input[0].name = proto.graph.node[0].input[0] = "other"
    elif change == "output name":
        proto.graph.output[0].name = proto.graph.node[-1].output[0] = "other"
    elif change == "batch":
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    elif change == "type":
        proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    else:
        proto.graph.output.append(
            onnx.helper.make_tensor_value_info(proto.graph.node[0].output[0], 1, None)
        )
    with pytest.raises(spa.VerificationError):
        spa.verify(model, proto, result.plan)


def test_the_pruned_model_of_another_plan_fails():
    model, result = _pruned(classifier())
    _, other = _pruned(classifier(), criterion="random", seed=3)
    with pytest.raises(spa.VerificationError):
        spa.verify(model, other.model, result.plan)


def test_the_dense_model_itself_fails():
    model, result = _pruned(classifier())
    with pytest.raises(spa.VerificationError):
        spa.verify(model, model.proto, result.plan)


def _with_dead_head(seed=0):
    """A head whose weights are zero: its output is constant whatever is cut."""
    proto = classifier(seed=seed)
    head = node_of(proto, "Gemm").input[1]
    return _set(proto, head, np.zeros_like(initializer(proto, head)))


def _with_dead_relus():
    """A network of which nothing is left behind its first ReLU, whatever goes in."""
    g = Builder()
    x = g.node(
        "Add",
        [g.conv(g.input(3, 4, 4), 3, 8), g.weight(np.full((8, 1, 1), -1e3, np.float32), "low")],
    )
    return g.model(g.conv(g.node("Relu", [x]), 8, 4))


def test_a_constant_output_is_compared_with_random_weights():
    _, result = _pruned(_with_dead_head())
    assert result.proof.equal
    assert any("both with random weights" in check for check in result.proof.checks)


def test_weights_with_which_nothing_runs_are_drawn_again(monkeypatch):
    """As regions that are computed may be turned inside out."""
    drawn, plain = [], Opened.run

    def run(self, feeds):
        if isinstance(self, _Random):
            drawn.append(self)
            if len(drawn) <= fail:
                raise RunError("regions are inside out")
        return plain(self, feeds)

    class _Random(Opened):
        """Models of the comparison with random weights."""

    def pair_of(self, fixed, dense, pruned, **how):
        pair = plain_pair_of(self, fixed, dense, pruned, **how)
        if "random" in how.get("what", ""):
            session = pair.dense
            session.__class__ = _Random
            pair._sessions["dense"] = session  # or it would be opened anew
        return pair

    plain_pair_of = outputs.Prover._pair_of
    monkeypatch.setattr(outputs.Prover, "_pair_of", pair_of)
    monkeypatch.setattr(Opened, "run", run)
    fail = 2
    dead = spa.load(_with_dead_relus())
    spa.prune(dead, ratio=0.5)
    assert len(drawn) == 3
    drawn.clear()
    fail = 100
    proof = spa.prune(dead, ratio=0.5).proof
    assert any("with no random weights: none run" in check for check in proof.checks)


def test_a_constant_output_hides_no_changed_weight():
    model, result = _pruned(_with_dead_head())
    value = initializer(result.model, "w2").copy()
    value[0, 0, 0, 0] += 1
    with pytest.raises(spa.VerificationError, match='"w2"'):
        spa.verify(model, _set(result.model, "w2", value), result.plan)


def test_a_constant_output_hides_no_wrong_structure():
    model, result = _pruned(_with_dead_head())
    proto = onnx.ModelProto()
    proto.CopyFrom(result.model)
    for node in proto.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Sigmoid"
    with pytest.raises(spa.VerificationError):
        spa.verify(model, proto, result.plan)


@pytest.mark.parametrize("storage", STORAGES)
def test_random_weights_leave_variances_and_divisors_positive(storage):
    """Random draw 1 of shard 1: a variance behind Identity became negative, its root NaN."""
    g = Builder(storage=storage)
    x = g.batch_norm(g.conv(g.input(3, 4, 4), 3, 8), 8)
    x = g.node("Div", [x, g.weight(np.full((8, 1, 1), 0.7, np.float32), "divisor")])
    root = g.node("Sqrt", [g.weight(np.full((8, 1, 1), 0.7, np.float32), "variance")])
    x = g.node("Relu", [g.node("Div", [x, root])])
    x = g.conv(x, 8, 5, 1)
    proto = g.model(g.node("Mul", [x, g.weight(np.zeros((5, 1, 1), np.float32), "gamma")]))
    _, result = _pruned(proto)
    assert any("both with random weights" in check for check in result.proof.checks)


def test_random_weights_change_every_contracted_parameter():
    model = spa.load(classifier())
    names = contracted_parameters(model)
    assert {"w0", "w5", "b0"} <= names
    assert not names & {"scale0", "mean0", "var0", "shift0"}

    other = randomised(model, names)
    assert all((other.array(name) != model.array(name)).any() for name in names)


def test_random_operators_draw_the_same_for_both():
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 8)
    noise = g.node("RandomNormalLike", [x], scale=0.1)
    x = g.conv(g.node("Relu", [g.node("Add", [x, noise])]), 8, 8)
    proto = g.model(g.conv(g.node("Relu", [x]), 8, 4))
    model, result = _pruned(proto)
    assert result.proof.equal
    assert "RandomNormalLike" in result.proof.checks[-1]
    for number in range(3):  # before, and after, what is drawn
        name = node_of(result.model, "Conv", number).input[1]
        value = initializer(result.model, name) + np.float32(0.5)
        with pytest.raises(spa.VerificationError, match="differs"):
            _outputs(model, _set(result.model, name, value), result.plan)


def _with_mean_over_channels():
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 8)
    x = g.node("Sub", [x, g.reduce("ReduceMean", x, [1])])
    x = g.node("Relu", [g.conv(x, 8, 8)])
    return g.model(g.conv(x, 8, 4))


def test_an_inexact_plan_is_compared_but_for_what_is_not_exact():
    _, result = _pruned(_with_mean_over_channels())
    assert not result.plan.exact
    assert not result.proof.equal
    assert np.isnan(result.proof.difference)
    assert "ReduceMean" in result.proof.checks[-1]


@pytest.mark.parametrize("number", range(3))
def test_a_changed_weight_of_an_inexact_plan_fails(number):
    model, result = _pruned(_with_mean_over_channels())
    name = node_of(result.model, "Conv", number).input[1]
    value = initializer(result.model, name) + np.float32(0.5)
    with pytest.raises(spa.VerificationError, match="differs"):
        _outputs(model, _set(result.model, name, value), result.plan)


def _of_many_kinds():
    """Two blocks with a pool between, so that several operators handle channels."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    y = g.node("Tanh", [g.conv(x, 8, 12)])
    z = g.node("Add", [x, g.conv(y, 12, 8)])
    return g.model(g.conv(g.node("Relu", [z]), 8, 4))


@pytest.mark.parametrize("number", range(4))
def test_a_failed_proof_names_the_operator_and_the_group(number):
    model, result = _pruned(_of_many_kinds())
    node = node_of(result.model, "Conv", number)
    value = initializer(result.model, node.input[1]) + np.float32(0.5)
    with pytest.raises(spa.VerificationError) as caught:
        _outputs(model, _set(result.model, node.input[1], value), result.plan)
    groups = spa.find_groups(model)
    (group,) = [
        group.id
        for group in groups
        for member in group.members
        if (member.name, member.axis.axis) == (node.input[1], 0 if number < 3 else 1)
    ]
    assert f'It goes wrong first at Conv "{node.name}", which handles' in str(caught.value)
    assert f"group {group} (" in str(caught.value)


def test_a_model_that_does_not_run_names_the_operator_and_the_group():
    model, result = _pruned(_of_many_kinds())
    conv, add = node_of(result.model, "Conv", 2), node_of(result.model, "Add")
    wrong = result.model
    for name in conv.input[1:]:  # more channels than the sum's other operand has
        value = initializer(result.model, name)
        wrong = _set(wrong, name, np.concatenate([value, value[:1]]))
    with pytest.raises(spa.VerificationError) as caught:
        _outputs(model, wrong, result.plan)
    assert f'Add "{add.name}", which handles channels of group' in str(caught.value)
    assert "does not run at sizes at which the dense one does (x 1x3x8x8)" in str(caught.value)


def _with_floor(offset):
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    x = g.node("Tanh", [g.conv(x, 8, 1)])
    x = g.node("Floor", [g.node("Add", [x, g.weight(offset, "offset", "initializer")])])
    return g.model(g.conv(x, 1, 4))


def test_rounding_before_an_operator_that_jumps_fails_no_proof():
    """Half of all entries lie within rounding of 1, and Floor makes 0 or 1 of them."""
    zero = np.zeros((1, 1, 8, 8), np.float32)
    model = spa.load(_with_floor(zero))
    plan = spa.prune(model, ratio=0.5).plan
    dense = zeroed(model, cut_of(plan, spa.find_groups(model).coupling))
    tanh = node_of(dense, "Tanh").output[0]
    value = run(dense, model.example, also=[tanh])[1]
    model, result = _pruned(_with_floor(1 - value[:1]), ratio=0.5)
    assert result.plan.parameters == plan.parameters
    changed = initializer(result.model, "w0") * np.float32(1 + 1e-6)
    proof = _outputs(model, _set(result.model, "w0", changed), result.plan)
    assert proof.equal
    assert "Floor" in proof.checks[-1]
    # What the operator reads, and what comes after it, is still compared.
    add, conv = node_of(result.model, "Add"), node_of(result.model, "Conv", 2)
    for name in ("w0", add.input[1], conv.input[1]):
        value = initializer(result.model, name) * np.float32(1.01)
        with pytest.raises(spa.VerificationError, match="differs"):
            _outputs(model, _set(result.model, name, value), result.plan)


def test_sizes_that_shrink_are_not_blamed_for_a_failed_proof():
    """Random draw 30 of chunk 117: a Shape was named, whose number rightly got smaller."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    x = g.node("Reshape", [g.node("Relu", [x]), g.node("Shape", [x])])
    model, result = _pruned(g.model(g.conv(x, 8, 4)))
    node = node_of(result.model, "Conv", 1)
    value = initializer(result.model, node.input[1]) + np.float32(0.5)
    with pytest.raises(spa.VerificationError, match=f'first at Conv "{node.name}"'):
        _outputs(model, _set(result.model, node.input[1], value), result.plan)


def test_a_determinant_near_zero_fails_no_proof():
    """Random draw 30 of chunk 117: of rows that are nearly parallel it is what rounding leaves."""
    g, rng = Builder(), np.random.default_rng(0)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 16)])
    rows = rng.standard_normal((1, 16, 1, 1)) + 1e-3 * rng.standard_normal((2, 16, 1, 1))
    weight = g.weight(rows.astype(np.float32), "rows", "initializer")
    y = g.reshape(g.node("Conv", [x, weight]), [0, 2, 16])
    gram = g.node("MatMul", [y, g.node("Transpose", [y], perm=[0, 2, 1])])
    proto = g.model(g.unsqueeze(g.node("Det", [gram]), [1]))
    model, result = _pruned(proto, criterion="random")
    value = initializer(result.model, weight)
    noise = rng.standard_normal(value.shape).astype(np.float32)
    proof = _outputs(model, _set(result.model, weight, value * (1 + 1e-6 * noise)), result.plan)
    assert proof.equal
    assert "Det" in proof.checks[-1]
    with pytest.raises(spa.VerificationError, match="differs"):
        _outputs(model, _set(result.model, weight, value * (1 + 1e-2 * noise)), result.plan)


def test_sizes_that_nothing_else_runs_at_are_said_on_the_plan_too():
    """A weight takes pictures of eight rows, whatever the file says of them."""
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", 8]))
    rows = g.node("MatMul", [g.normal(8, 8), "x"])
    x = g.node("Relu", [g.conv(rows, 3, 8)])
    result = spa.prune(g.model(g.conv(x, 8, 5)), inputs={"x": (2, 3, 8, 8)}, ratio=0.5)
    assert result.proof.untried == ("H",)
    assert result.proof.equal
    assert any(note.startswith("sizes other than") and "H" in note for note in result.plan.notes)
    assert "untried for H" in str(result.plan.to_json()["notes"])
