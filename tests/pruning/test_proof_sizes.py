"""The proof goes to sizes that the analysis did not see, and says to which."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.pruning.plan import cut_of
from spa.pruning.proof.sizes import Size, other_sizes, sizes_of
from spa.pruning.verify import verify_outputs
from tests.graphs import Builder
from tests.pruning.test_dynamic_sizes import Dynamic, image


def taken(model, runs=lambda shapes: True):
    """By input and axis, the values that dynamic sizes take."""
    found, untried = other_sizes(model, runs)
    values = {
        (name, axis): {shapes[name][axis] for shapes in found}
        for size in sizes_of(model)
        for name, axis in size.axes
    }
    return values, untried


def pictures():
    g = Dynamic(17)
    x = g.block(image(g), 3, 8)
    return g.model(g.conv(x, 8, 5))


def test_every_dynamic_size_takes_four_values_unlike_the_example():
    model = spa.load(pictures(), {"x": (2, 3, 64, 48)})
    values, untried = taken(model)
    assert not untried
    for (_, axis), some in values.items():
        example = model.example["x"].shape[axis]
        assert len(some) >= 4
        assert all(value % example for value in some)
        assert any(value < example for value in some)
        assert any(value > example for value in some)
        assert any(value % 2 for value in some)


def test_sizes_differ_from_each_other_in_every_run():
    model = spa.load(pictures(), {"x": (2, 3, 64, 64)})
    found, _ = other_sizes(model, lambda shapes: True)
    for shapes in found:
        n, _, h, w = shapes["x"]
        assert len({n, h, w}) == 3


@pytest.mark.parametrize(
    ("runs", "wanted"),
    [
        (lambda n, h, w: h % 32 == 0 and w % 32 == 0, 4),  # halved five times
        (lambda n, h, w: n % 2 == 0, 4),  # a batch that is split in two
        (lambda n, h, w: h == 64, 4),  # one height, any width
        (lambda n, h, w: h == w, 4),  # squares
    ],
)
def test_a_model_that_takes_few_sizes_is_met_there(runs, wanted):
    model = spa.load(pictures(), {"x": (2, 3, 64, 64)})
    values, untried = taken(model, lambda shapes: runs(*np.delete(shapes["x"], 1)))
    free = [
        some
        for key, some in values.items()
        if key[1] not in {a for s in untried for _, a in s.axes}
    ]
    assert free
    assert all(len(some - {64, 2}) >= wanted for some in free)


def test_a_size_that_takes_no_other_value_is_untried():
    model = spa.load(pictures(), {"x": (2, 3, 64, 64)})
    values, untried = taken(model, lambda shapes: shapes["x"] == (2, 3, 64, 64))
    assert len(untried) == 3
    assert all(not some for some in values.values())


def test_a_batch_of_one_takes_others():
    assert next(Size("N", (("x", 0),), 1).ladder())[:4] == [3, 5, 7, 2]
    assert next(Size("N", (("x", 0),), 3).ladder())[:4] == [1, 5, 7, 2]


def test_an_untried_size_is_told():
    """The target of its Reshape holds the batch, as the file came."""
    g = Builder(17)
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4]))
    x = g.node("Relu", [g.node("MatMul", ["x", g.normal(4, 12)])])
    x = g.node("MatMul", [x, g.normal(12, 6)])
    proto = g.model(g.node("Reshape", [x, g.ints([2, 3, 2])]), dims=[[2, 3, 2]])
    proof = spa.prune(proto, ratio=0.5).proof
    assert proof.untried == ("N",)
    assert any(
        check.startswith("unproven at other sizes: the dense model ran for no other N than")
        for check in proof.checks
    )


def test_a_size_that_was_frozen_is_found_and_named():
    """A batch of 2 written into a Reshape: right in the example, and in every multiple of it."""
    g = Dynamic(17)
    x = g.block(image(g), 3, 8)
    flat = g.node("Reshape", [x, g.listed(g.size(x, 0), 8, -1)])
    proto = g.model(g.node("MatMul", [g.node("Transpose", [flat], perm=[0, 2, 1]), g.normal(8, 5)]))
    model = spa.load(proto, {"x": (2, 3, 8, 8)})
    result = spa.prune(model, ratio=0.5)
    wrong = onnx.ModelProto()
    wrong.CopyFrom(result.model)
    (node,) = (node for node in wrong.graph.node if node.op_type == "Reshape")
    left = 8 - len(result.plan.groups[0].removed)
    wrong.graph.initializer.append(numpy_helper.from_array(np.array([2, left, -1]), "frozen"))
    node.input[1] = "frozen"
    groups = spa.find_groups(model)
    with pytest.raises(spa.VerificationError, match=r"\(?x \d+x3x\d+x\d+"):
        verify_outputs(model, wrong, cut_of(result.plan, groups.coupling), groups)


def test_unnamed_sizes_that_must_be_equal_move_together():
    g = Builder(17)
    for name in ("x", "y"):
        g.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, 6]))
    x = g.node("Relu", [g.node("MatMul", [g.node("Add", ["x", "y"]), g.normal(6, 12)])])
    proto = g.model(g.node("MatMul", [x, g.normal(12, 4)]))
    proof = spa.prune(proto, ratio=0.5, inputs={"x": (2, 9, 6), "y": (2, 9, 6)}).proof
    assert proof.equal
    assert proof.untried == ()
    assert len(proof.sizes) >= 4


def test_rows_of_large_batches_are_compared(monkeypatch):
    from spa.pruning.proof import outputs

    monkeypatch.setattr(outputs, "LARGE", 0)
    g = Builder(17)
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    proto = g.model(g.conv(x, 8, 4))
    model = spa.load(proto)
    result = spa.prune(model, ratio=0.5)
    assert len(result.proof.sizes) == 4
    assert any("in batches of 5 and 7, row by row" in check for check in result.proof.checks)
    # A model whose rows depend on one another is run in full.
    mixed = g.node("Sub", [x, g.reduce("ReduceMean", x, [0])])
    proof = spa.prune(g.model(g.conv(mixed, 8, 4)), ratio=0.5).proof
    assert len(proof.sizes) >= 4
    assert not any("row by row" in check for check in proof.checks)
