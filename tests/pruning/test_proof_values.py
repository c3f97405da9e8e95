"""The proof looks where an example does not: with it alone, each of these files would pass."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.pruning.plan import cut_of
from spa.pruning.proof import values
from spa.pruning.verify import verify_outputs
from tests.graphs import Builder


def pruned(proto, inputs=None):
    model = spa.load(proto, inputs)
    return model, spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))


def outputs(model, proto, plan):
    """What is computed alone: the weights themselves are not looked at."""
    groups = spa.find_groups(model)
    return verify_outputs(model, proto, cut_of(plan, groups.coupling), groups)


def garbled(proto, *names):
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    rng = np.random.default_rng(9)
    for tensor in copy.graph.initializer:
        if tensor.name in names:
            old = numpy_helper.to_array(tensor)
            tensor.CopyFrom(
                numpy_helper.from_array(
                    rng.standard_normal(old.shape).astype(np.float32), tensor.name
                )
            )
    return copy


def refuses(model, result, *names):
    for name in names:
        with pytest.raises(spa.VerificationError, match="differs from the zeroed"):
            outputs(model, garbled(result.model, name), result.plan)


def weighted(g, x, rows, columns, name, scale=1.0):
    value = np.random.default_rng(len(name)).standard_normal((rows, columns)) * scale / rows**0.5
    g.initializers.append(numpy_helper.from_array(value.astype(np.float32), name))
    return g.node("MatMul", [x, name])


def declared(g, name, kind, dims):
    g.inputs.append(helper.make_tensor_value_info(name, kind, dims))
    return name


def test_a_gate_that_a_boolean_closes():
    """Booleans are true in the example; then the branch does not count."""
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["N", 16])
    skip = declared(g, "skip", TensorProto.BOOL, [1])
    h = g.node("Relu", [weighted(g, x, 16, 12, "w")])
    a = weighted(g, h, 12, 4, "wa")
    b = weighted(g, g.node("Relu", [weighted(g, h, 12, 10, "wbb")]), 10, 4, "wccc")
    gate = g.node("Cast", [g.node("Not", [skip])], to=TensorProto.FLOAT)
    proto = g.model(g.node("Add", [a, g.node("Mul", [b, gate])]))
    model, result = pruned(proto)
    refuses(model, result, "wbb", "wccc")


def test_both_sides_of_a_comparison():
    """y where an integer is 103, z elsewhere; a guess of 0 or 1 never is."""
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["N", 16])
    kind = declared(g, "kind", TensorProto.INT64, ["N", 1])
    h = g.node("Relu", [weighted(g, x, 16, 12, "w")])
    y, z = weighted(g, h, 12, 4, "wa"), weighted(g, h, 12, 4, "wbb")
    where = g.node("Equal", [kind, g.ints(103)])
    model, result = pruned(g.model(g.node("Where", [where, y, z])))
    assert values.ranges(model)["kind"].high >= 103
    refuses(model, result, "wa", "wbb")


def test_the_whole_of_a_table():
    g = Builder(17)
    ids = declared(g, "ids", TensorProto.INT64, ["N", "T"])
    g.initializers.append(
        numpy_helper.from_array(
            np.random.default_rng(0).standard_normal((50, 12)).astype(np.float32), "table"
        )
    )
    x = g.node("Relu", [g.node("Gather", ["table", ids])])
    model, result = pruned(g.model(weighted(g, x, 12, 4, "w")))
    assert values.ranges(model)["ids"] == values.Range(0, 49)
    changed = onnx.ModelProto()
    changed.CopyFrom(result.model)
    for tensor in changed.graph.initializer:
        if tensor.name == "table":
            value = numpy_helper.to_array(tensor).copy()
            value[2:] = 0.0  # ids of the example are 0 and 1
            tensor.CopyFrom(numpy_helper.from_array(value, "table"))
    with pytest.raises(spa.VerificationError, match="differs from the zeroed"):
        outputs(model, changed, result.plan)


def test_sequences_are_as_long_as_they_may_be():
    """With a length of 1, recurrent weights never count."""
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["T", "N", 5])
    lengths = declared(g, "lengths", TensorProto.INT32, ["N"])
    rng = np.random.default_rng(0)
    for name, shape in (("W", (1, 32, 5)), ("R", (1, 32, 8)), ("B", (1, 64))):
        value = rng.standard_normal(shape).astype(np.float32) / shape[-1] ** 0.5
        g.initializers.append(numpy_helper.from_array(value.astype(np.float32), name))
    every = g.node("LSTM", [x, "W", "R", "B", lengths], hidden_size=8)
    h = g.node("Squeeze", [every, g.ints([1])])
    model, result = pruned(g.model(weighted(g, h, 8, 3, "w")), {"x": (4, 3, 5), "lengths": (3,)})
    assert values.ranges(model)["lengths"] == values.Range(1, 4, 4)
    refuses(model, result, "R")


def test_what_is_nan_on_normal_numbers_is_tried_on_others():
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["N", 16])
    h = g.node("Relu", [weighted(g, g.node("Sqrt", [x]), 16, 12, "w")])
    model, result = pruned(g.model(weighted(g, h, 12, 4, "ww")))
    assert result.proof.equal
    refuses(model, result, "w", "ww")


def test_what_is_never_a_number_is_unproven():
    """The root of what is below zero for all inputs."""
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["N", 16])
    h = g.node("Relu", [weighted(g, x, 16, 12, "w")])
    low = g.node("Sub", [weighted(g, h, 12, 4, "ww"), g.weight(np.float32(1e4), "much")])
    _, result = pruned(g.model(g.node("Sqrt", [low])))
    assert not result.proof.equal
    assert np.isnan(result.proof.difference)
    (said,) = [c for c in result.proof.checks if c.startswith("unproven")]
    assert "NaN or infinite on all inputs" in said
    assert not any(c.startswith("equals") for c in result.proof.checks)


def test_scores_beside_boxes():
    """Scores of 0.01 in one tensor with boxes of 640: the largest value says nothing of them."""
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["N", 9, 16])
    h = g.node("Relu", [weighted(g, x, 16, 12, "w")])
    box = g.node("Mul", [g.node("Sigmoid", [weighted(g, h, 12, 4, "wa")]),
                         g.weight(np.float32(640), "pixels")])  # fmt: skip
    low = g.node("Sub", [weighted(g, h, 12, 6, "wbb"), g.weight(np.float32(4.6), "rare")])
    proto = g.model(g.node("Concat", [box, g.node("Sigmoid", [low])], axis=2))
    model, result = pruned(proto)
    changed = garbled(result.model, "wbb")
    for tensor in changed.graph.initializer:  # small enough for the largest value to hide it
        if tensor.name == "wbb":
            old = numpy_helper.to_array(next(
                t for t in result.model.graph.initializer if t.name == "wbb"))  # fmt: skip
            tensor.CopyFrom(numpy_helper.from_array(old * np.float32(1.02), "wbb"))
    with pytest.raises(spa.VerificationError, match="differs from the zeroed"):
        outputs(model, changed, result.plan)


def test_anything_beside_a_mask():
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["N", 8, 16])
    h = g.node("Relu", [weighted(g, x, 16, 12, "w")])
    scores = weighted(g, h, 12, 8, "ww")
    mask = np.triu(np.full((8, 8), -1e9, np.float32), 1)
    model, result = pruned(g.model(g.node("Add", [scores, g.weight(mask, "mask")])))
    refuses(model, result, "ww")


def test_a_weak_path():
    """It adds 1e-5 to the output; what it adds is compared where it meets the rest."""
    g = Builder(17)
    x = declared(g, "x", TensorProto.FLOAT, ["N", 16])
    h = weighted(g, x, 16, 16, "w")
    a = g.node("Relu", [weighted(g, h, 16, 24, "weak", 2e-3)])
    h = g.node("Add", [h, weighted(g, a, 24, 16, "weaker", 2e-3)])
    model, result = pruned(g.model(weighted(g, h, 16, 4, "ww")))
    changed = onnx.ModelProto()
    changed.CopyFrom(result.model)
    for tensor in changed.graph.initializer:
        if tensor.name == "weak":
            value = numpy_helper.to_array(tensor)[:, ::-1].copy()
            tensor.CopyFrom(numpy_helper.from_array(value, "weak"))
    with pytest.raises(spa.VerificationError, match="differs from the zeroed"):
        outputs(model, changed, result.plan)


def test_inputs_are_shaken_by_a_last_bit():
    """Equal rows become unequal, so that what cancels out shows how it rounds."""
    rows = np.tile(np.float32([2.0, 0.0, np.inf, *np.linspace(-1.7, 0.9, 9)]), (2, 1))
    counts = np.arange(3)
    found = values.shaken({"rows": rows, "half": rows.astype(np.float16), "counts": counts})
    np.testing.assert_array_equal(found["counts"], counts)
    for name, unit in (("rows", 2.0**-23), ("half", 2.0**-10)):
        have, were = found[name], rows.astype(found[name].dtype)
        np.testing.assert_array_equal(have[:, :3], were[:, :3])
        assert (have[:, 3:] != were[:, 3:]).all()
        np.testing.assert_allclose(have[:, 3:], were[:, 3:], rtol=unit)
        assert (have[0] != have[1]).any()
