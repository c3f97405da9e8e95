"""What the library's things look like, and what its functions say of a wrong argument."""

import numpy as np
import onnx
import pytest

import spa
from tests.graphs import Builder, classifier


@pytest.fixture(scope="module")
def things():
    model = spa.load(classifier())
    groups = spa.find_groups(model)
    scores = spa.score(model, groups)
    plan = spa.make_plan(groups, scores, spa.Target(rf=2.0))
    return {
        "model": model, "groups": groups, "scores": scores, "plan": plan,
        "pruned": spa.prune(model, rf=2.0),
    }  # fmt: skip


def deep():
    g = Builder()
    x = g.input(3, 16, 16)
    for layer in range(60):
        x = g.node("Relu", [g.conv(x, 3 if layer == 0 else 16, 16)])
    return g.model(g.gemm(g.node("Flatten", [g.node("GlobalAveragePool", [x])]), 16, 5))


@pytest.mark.parametrize("proto", [classifier(), deep()], ids=["small", "deep"])
def test_what_is_typed_shows_a_few_lines(proto):
    model = spa.load(proto)
    groups = spa.find_groups(model)
    result = spa.prune(model, rf=2.0)
    for thing in (model, groups, spa.score(model, groups), result.plan, result):
        assert len(repr(thing).splitlines()) < 20
        assert len(repr(thing)) < 2000
    for thing in (groups, result.plan, result):
        page = thing._repr_html_()
        assert page.count("<tr>") <= 41
    assert len(result.summary().splitlines()) < 50


def test_tables_name_what_is_there(things):
    assert all(f"\n{group.id} " in repr(things["groups"]) for group in things["groups"])
    assert "inlined" not in repr(things["groups"])
    names = {m.name for group in things["groups"] for m in group.members[:1]}
    assert all(name in repr(things["groups"]) for name in names)


def test_html_of_names_is_escaped():
    proto = classifier()
    old = proto.graph.initializer[0].name
    for node in proto.graph.node:
        node.input[:] = [f"<b>{name}" if name == old else name for name in node.input]
    proto.graph.initializer[0].name = f"<b>{old}"
    assert f"&lt;b&gt;{old}" in spa.prune(proto, rf=2.0)._repr_html_()


def test_a_summary_has_every_weight_that_shrank(things):
    pruned = things["pruned"]
    before = {t.name: tuple(t.dims) for t in classifier().graph.initializer}
    after = {t.name: tuple(t.dims) for t in pruned.model.graph.initializer}
    text = pruned.summary()
    for name, shape in after.items():
        if len(shape) > 1 and shape != before[name]:
            line = next(each for each in text.splitlines() if each.split()[0] == name)
            assert line.split()[1:3] == ["x".join(map(str, s)) for s in (before[name], shape)]


def test_how_far_outputs_moved_is_measured(things):
    from spa.graph.execute import run

    pruned, model = things["pruned"], things["model"]
    (a,), (b,) = (run(proto, model.example) for proto in (model.proto, pruned.model))
    assert pruned.moved == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    assert f"{pruned.moved:.2g}" in pruned.summary()


def test_weights_in_constant_nodes_have_rows():
    proto = classifier()
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    for tensor in tensors:
        node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        proto.graph.node.insert(0, node)
    assert len(spa.prune(proto, rf=2.0).summary().splitlines()) > 4


def test_a_wrong_argument_is_named_with_what_makes_the_right_one(things):
    proto, model, groups = classifier(), things["model"], things["groups"]
    for call, words in (
        (lambda: spa.find_groups(proto), "spa.load"),
        (lambda: spa.score(model, model), "find_groups"),
        (lambda: spa.make_plan(groups, things["plan"], spa.Target(rf=2)), "spa.score"),
        (lambda: spa.make_plan(groups, things["scores"], 2.0), "spa.Target"),
        (lambda: spa.apply_plan(model, "plan.json"), "Plan.load"),
        (lambda: spa.verify(model, things["pruned"], things["plan"]), "result.model"),
        (lambda: spa.save(things["pruned"], "o.onnx"), "result.model"),
        (lambda: spa.save(proto, "o.keras"), ".onnx"),
        (lambda: spa.load(3), "path"),
        (lambda: spa.prune(groups, rf=2.0), "path"),
    ):
        with pytest.raises(spa.SpaError, match=words):
            call()


def test_costs_are_measured_of_whatever_can_be_loaded(things, tmp_path):
    proto = things["pruned"].model
    spa.save(proto, tmp_path / "o.onnx")
    for source in (proto, tmp_path / "o.onnx", spa.load(proto)):
        assert spa.measure_cost(source) == things["pruned"].pruned


@pytest.mark.parametrize("given", [np.float32(1), np.array(1, np.float32), ()])
def test_an_input_without_axes(given):
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    weights = [
        onnx.numpy_helper.from_array(np.ones(s, np.float32), n)
        for n, s in (("w0", (8, 12)), ("w1", (12, 3)))
    ]
    graph = onnx.helper.make_graph(
        [node("Mul", ["x", "low"], ["z"]), node("MatMul", ["z", "w0"], ["h"]),
         node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w1"], ["y"])],
        "g", [value("x", 1, ["N", 8]), value("low", 1, [])], [value("y", 1, ["N", 3])], weights,
    )  # fmt: skip
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model = spa.load(proto, {"x": (4, 8), "low": given})
    assert model.example["low"].shape == ()
    for wrong in (1.5, "2x8", ("a", 8), [2.5, 8], np.array(["a"])):
        with pytest.raises(spa.InputError):
            spa.load(proto, {"x": wrong})
