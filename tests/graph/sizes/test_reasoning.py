"""What is reasoned of sizes: open where a size of an input goes in, fixed and equal else."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import spa
from spa.coupling.rules.base import RULES
from spa.graph.example import free_sizes, grown
from spa.graph.observe import Observer
from spa.graph.sizes.registry import AXES
from tests.graphs import Builder
from tests.random_graphs import graphs
from tests.random_graphs.checking import loaded
from tests.random_graphs.independent import visit


def _with_input(*dims, name="x", builder=None):
    g = builder or Builder()
    g.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return g


def _of(model, name):
    return [str(model.sizes.of(name, k)) for k in range(len(model.shapes[name]))]


def test_axes_of_one_name_have_one_size_and_others_their_own():
    g = _with_input("N", 3, "S", "S")
    _with_input("N", None, name="a", builder=g)
    _with_input("N", None, name="b", builder=g)
    outputs = [g.node("Relu", [name]) for name in ("x", "a", "b")]
    model = spa.load(g.model(*outputs))
    assert model.same_size("x", 2, "x", 3)
    assert model.same_size("x", 0, "a", 0)
    assert not model.same_size("a", 1, "b", 1)
    assert list(model.sizes.free) == ["N", "S", "a[1]", "b[1]"]
    sizes = {model.example["x"].shape[2], *(model.example[name].shape[1] for name in "ab")}
    assert len(sizes) == 3  # what is not the same differs in the example


@pytest.mark.parametrize("name", ["?", "-1", "None", "unknown", ""])
def test_a_mark_for_unknown_is_no_name(name):
    """Paddle's exports call every open size "?"."""
    model = spa.load((g := _with_input("N", 3, name, name)).model(g.conv("x", 3, 4)))
    assert list(model.sizes.free) == ["N", "x[2]", "x[3]"]
    assert model.example["x"].shape[2] != model.example["x"].shape[3]


def test_a_number_of_another_ones_type_is_no_other_number():
    """torch.arange of a size: its start and step are cast to the type that the size has."""
    g = _with_input("N", "S", 4)
    size = g.node("Shape", ["x"], start=1, end=2)
    one = g.node("Squeeze", [size])
    like = [g.node("CastLike", [g.weight(np.float32(n)), one]) for n in (0, 1)]
    places = g.node("Range", [like[0], one, like[1]])
    shifted = g.node("Unsqueeze", [g.node("Cast", [places], to=TensorProto.FLOAT), g.ints([1])])
    model = spa.load(g.model(g.node("Add", ["x", shifted])))
    assert _of(model, places) == ["S"]


def test_what_a_fixed_size_goes_into_is_fixed():
    g = _with_input("N", 3, 8, 8)
    x = g.node("Relu", [g.conv("x", 3, 16)])
    flat = g.node("Reshape", [x, g.ints([0, -1])])
    heads = g.node("Reshape", [flat, g.ints([-1, 4, 256])])
    model = spa.load(g.model(heads))
    assert _of(model, flat) == ["N", "1024"]
    assert _of(model, heads) == ["N", "4", "256"]


@pytest.mark.parametrize("op", ["Add", "Div", "Mod", "Min", "Max"])
def test_a_number_that_a_size_goes_into_is_not_fixed_though_all_runs_agree(op):
    """With a length of 16 and of 48 each of these is the same number twice."""
    g = _with_input("N", "T", 8)
    other = {"Add": 0, "Div": 64, "Mod": 16, "Min": 8, "Max": 64}[op]
    length = g.node("Gather", [g.node("Shape", ["x"]), g.ints([1])], axis=0)
    number = g.node(op, [length, g.ints([other])])
    target = g.node("Concat", [number, g.ints([3])], axis=0)
    model = spa.load(g.model(g.node("Relu", ["x"]), target))
    fixed = model.static_value(number)
    assert fixed is None
    assert model.whole_entries(target) == [None, 3]


def test_arithmetic_that_undoes_itself_leaves_a_size():
    g = _with_input("N", "T", 8)
    shape = g.node("Shape", ["x"])
    length = g.node("Gather", [shape, g.ints(1)], axis=0)
    doubled = g.node("Mul", [length, g.ints(2)])
    halved = g.node(
        "Div", [g.node("Cast", [doubled], to=TensorProto.FLOAT), g.weight(np.float32(2))]
    )
    same = g.node("Cast", [g.node("Floor", [halved])], to=TensorProto.INT64)
    target = g.node("Concat", [g.ints([-1]), g.unsqueeze(same, [0]), g.ints([4, 2])], axis=0)
    y = g.node("Reshape", ["x", target])
    model = spa.load(g.model(y))
    assert _of(model, y) == ["N", "T", "4", "2"]


def test_a_size_that_a_weight_fixes_is_fixed_wherever_it_stands():
    """The width is computed in a way that says nothing, but only one fits the weight."""
    g = _with_input("N", "T", 24)
    shape = g.node("Shape", ["x"])
    width = g.node("Mod", [g.node("ReduceProd", [shape], keepdims=1), g.ints([1000])])
    y = g.node("Slice", ["x", g.ints([0]), width, g.ints([2])])
    model = spa.load(g.model(g.node("MatMul", [y, g.normal(24, 5)])), {"x": (2, 3, 24)})
    assert _of(model, y) == ["N", "T", "24"]


def test_sizes_that_values_decide_are_open():
    g = _with_input("N", 8)
    found = g.node("NonZero", ["x"])
    rows = g.node("Gather", ["x", g.node("Gather", [found, g.ints(0)], axis=0)], axis=0)
    model = spa.load(g.model(rows))
    assert model.varies(rows, 0)
    assert not model.varies(rows, 1)


def test_windows():
    g = _with_input("N", 3, "H", "W")
    same = g.conv("x", 3, 4)
    down = g.conv(same, 4, 4, stride=2)
    again = g.node("MaxPool", [same], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    model = spa.load(g.model(down, again))
    assert _of(model, same) == ["N", "4", "H", "W"]
    assert model.same_size(down, 2, again, 2)
    assert not model.same_size(down, 2, same, 2)


# They make tensors whose shape the file fixes, or numbers alone.
WITHOUT_OPEN_SIZES = {
    "Constant", "MelWeightMatrix", "RandomNormal", "RandomUniform", "Shape", "Size",
}  # fmt: skip


def test_every_operator_with_a_rule_says_what_it_does_to_sizes():
    assert set(RULES) - set(AXES) == WITHOUT_OPEN_SIZES


EXAMPLES = 120


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(4))
def test_what_is_fixed_or_the_same_is_so_at_sizes_that_nobody_saw(shard):
    """Random graphs, run at three further tuples of sizes."""

    def check(drawn):
        model = loaded(drawn)
        groups = free_sizes(model.declared)
        observer = Observer(model.proto)
        for amounts in ((1, 3, 5, 7), (4, 1, 2, 9), (5, 16, 11, 2)):
            grows = list(zip(groups, amounts * 3, strict=False))
            try:
                run = observer.run(grown(model.example, grows))
            except spa.SpaError:
                continue
            _hold(model, run)

    visit(graphs(), check, number=500 + shard, examples=EXAMPLES)


def _hold(model, run):
    sizes = {}
    for node in model.graph.nodes:
        for name in filter(None, node.outputs):
            if name not in run.shapes or name not in model.shapes:
                continue
            for axis, size in enumerate(run.shapes[name]):
                known = model.sizes.of(name, axis)
                if isinstance(known, int):
                    assert size == known, (str(node), name, axis)
                assert sizes.setdefault(known, size) == size, (str(node), name, axis, str(known))
            if not model.sizes.changes(name) and name in run.values:
                assert np.array_equal(run.values[name], model.observed.values[name], equal_nan=True)
            entries = model.sizes.entries(name)
            if entries is not None and name in run.values and len(entries) == run.values[name].size:
                for entry, value in zip(
                    entries, run.values[name].reshape(-1).tolist(), strict=True
                ):
                    if isinstance(entry, (int, float)):
                        assert entry == pytest.approx(value, nan_ok=True), (str(node), name)
                    elif value >= 1 and not isinstance(value, bool):
                        assert sizes.setdefault(entry, value) == value, (str(node), str(entry))
