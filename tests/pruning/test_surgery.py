"""Surgery: what depends on a size follows, everything else survives."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from tests.coupling.cases import prove
from tests.graphs import Builder, attribute, classifier, initializer, node_of


def halved(proto, **kwargs):
    return spa.prune(proto, ratio=0.5, limits=spa.Limits(scope="local"), **kwargs).model


def test_names_metadata_opset_and_dynamic_axes_survive():
    proto = classifier()
    proto.producer_name = "somebody"
    proto.doc_string = "about"
    helper.set_model_props(proto, {"author": "me"})
    pruned = halved(proto)
    assert [n.name for n in pruned.graph.node] == [n.name for n in proto.graph.node]
    assert [t.name for t in pruned.graph.initializer] == [t.name for t in proto.graph.initializer]
    assert (pruned.producer_name, pruned.doc_string) == ("somebody", "about")
    assert pruned.metadata_props == proto.metadata_props
    assert pruned.opset_import == proto.opset_import
    assert pruned.graph.input == proto.graph.input
    assert pruned.graph.output == proto.graph.output


def test_declared_shapes_follow():
    proto = onnx.shape_inference.infer_shapes(classifier(batch=2))
    pruned = halved(proto)
    fresh = onnx.ModelProto()
    fresh.CopyFrom(pruned)
    del fresh.graph.value_info[:]
    inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(fresh).graph.value_info}
    assert len(pruned.graph.value_info) == len(proto.graph.value_info)
    for value in pruned.graph.value_info:
        assert value.type.tensor_type.shape == inferred[value.name].type.tensor_type.shape


def test_weights_that_are_listed_as_inputs_follow_too():
    pruned = halved(classifier(storage="input"))
    shapes = {t.name: list(t.dims) for t in pruned.graph.initializer}
    for value in pruned.graph.input:
        if value.name in shapes:
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            assert dims == shapes[value.name]


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_types_are_kept(dtype):
    g = Builder(batch=2)
    x = g.node("Relu", [g.gemm(g.input(3), 3, 8)])
    proto = g.model(g.gemm(x, 8, 4), dims=[[2, 4]])
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(kind)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = dtype
    # Half precision is coarser than what the proof tolerates; there the structure is judged.
    pruned = halved(proto, verify=dtype != TensorProto.FLOAT16)
    assert {t.data_type for t in pruned.graph.initializer} == {dtype}
    assert initializer(pruned, "w0").shape == (4, 3)


def test_the_group_attribute_follows():
    g = Builder()
    x = g.conv(g.conv(g.input(3, 6, 6), 3, 8), 8, 8, group=8)
    pruned = prove(g.model(g.conv(x, 8, 5)))
    assert attribute(node_of(pruned, "Conv", 1), "group") == 4


@pytest.mark.parametrize("target", [[0, -1], [-1, 72], [0, 72], [2, -1]])
def test_reshape_keeps_its_zero_and_its_minus_one(target):
    g = Builder(batch=2)
    x = g.reshape(g.conv(g.input(3, 3, 3), 3, 8), target)
    pruned = prove(g.model(g.gemm(x, 72, 5)))
    shape = initializer(pruned, node_of(pruned, "Reshape").input[1]).tolist()
    assert shape == [36 if size == 72 else size for size in target]


def test_reshape_with_allowzero():
    g = Builder(batch=2)
    x = g.node("Reshape", [g.conv(g.input(3, 3, 3), 3, 8), g.ints([2, 72])], allowzero=1)
    prove(g.model(g.gemm(x, 72, 5)))


def test_a_shape_constant_that_several_nodes_share_is_not_changed_for_the_others():
    g = Builder(batch=2)
    x = g.input(3, 3, 3)
    shape = g.ints([2, 8, 9])
    pruned_path = g.node("Reshape", [g.conv(x, 3, 8), shape])
    fixed = g.node("Reshape", [g.weight(np.ones((2, 72), np.float32), "fixed"), shape])
    proto = g.model(g.node("ReduceSum", [pruned_path, g.ints([1])]), fixed)
    pruned = halved(proto)
    first, second = (node_of(pruned, "Reshape", i).input[1] for i in (0, 1))
    assert initializer(pruned, first).tolist() == [2, 4, 9]
    assert initializer(pruned, second).tolist() == [2, 8, 9]


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_split_sizes_follow(opset):
    g = Builder(opset)
    a, b = g.split(g.conv(g.input(3, 6, 6), 3, 12), [8, 4])
    proto = g.model(g.conv(a, 8, 5), g.conv(b, 4, 5))
    pruned = prove(proto)
    split = node_of(pruned, "Split")
    sizes = attribute(split, "split") if opset < 13 else initializer(pruned, split.input[1])
    assert list(sizes) == [4, 2]


def test_split_without_sizes_gets_them_where_they_differ():
    g = Builder(17)
    a, b = g.node("Split", [g.conv(g.input(3, 6, 6), 3, 8)], 2, axis=1)
    proto = g.model(g.conv(a, 4, 5), g.conv(b, 4, 5))
    model = spa.load(proto)
    groups = spa.find_groups(model)
    only = spa.Limits(scope="local", include=["w1"])
    scores = spa.score(model, groups, "random")
    plan = spa.make_plan(groups, scores, spa.Target(ratio=0.5), only)
    pruned = spa.apply_plan(model, plan, groups)
    assert spa.verify(model, pruned, plan, groups).equal
    assert initializer(pruned, node_of(pruned, "Split").input[1]).tolist() == [2, 4]


def test_a_slice_stays_a_slice_where_ranks_are_even():
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 12)
    proto = g.model(g.conv(g.slice(x, 4, 12), 8, 5), g.conv(x, 12, 5))
    pruned = prove(proto)
    assert not [n for n in pruned.graph.node if n.op_type == "Gather"]


def test_an_uneven_slice_becomes_a_gather():
    """Every second channel of twelve, of which the first, second and fifth go."""
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 12)
    proto = g.model(g.conv(g.slice(x, 0, 12, step=2), 6, 5), g.conv(x, 12, 5))
    model = spa.load(proto)
    groups = spa.find_groups(model)
    values = {}
    gone = {0, 1, 4}
    for group in groups:
        own = next(m for m in group.members if m.name == "w0")
        values[group.id] = np.array([0.0 if i in gone else 1.0 for i in own.indices[:, 0]])
    scores = spa.Scores("l1", "sum", "none", values)
    plan = spa.make_plan(groups, scores, spa.Target(ratio=0.25))
    pruned = spa.apply_plan(model, plan, groups)
    assert spa.verify(model, pruned, plan, groups).equal
    gather = node_of(pruned, "Gather")
    # Of 2, 3, 5, 6, ..., 11 the even ones stand at 0, 3, 5 and 7.
    assert initializer(pruned, gather.input[1]).tolist() == [0, 3, 5, 7]


def test_numbers_computed_from_a_size_that_shrinks_are_pinned():
    """A scale of 1/sqrt(C), computed from Shape: it stays what it was."""
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 16)
    channels = g.node("Gather", [g.node("Shape", [x]), g.ints(1)], axis=0)
    root = g.node("Sqrt", [g.node("Cast", [channels], to=TensorProto.FLOAT)])
    proto = g.model(g.conv(g.node("Div", [x, root]), 16, 5))
    pruned = prove(proto)
    assert initializer(pruned, node_of(pruned, "Div").input[1]) == pytest.approx(4.0)


def test_a_computed_reshape_is_rewritten():
    g = Builder()
    x = g.conv(g.input(3, 3, 3), 3, 8)
    batch = g.unsqueeze(g.node("Gather", [g.node("Shape", [x]), g.ints(0)], axis=0), [0])
    x = g.node("Reshape", [x, g.node("Concat", [batch, g.ints([72])], axis=0)])
    prove(g.model(g.gemm(x, 72, 5)))
