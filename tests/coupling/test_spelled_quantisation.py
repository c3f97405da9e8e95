"""Integer weights behind Cast, Sub and Mul: what DequantizeLinear does, in plain operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import spa
from tests.coupling.cases import described, prove
from tests.graphs import Builder, initializer
from tests.oracles import random_feeds, run

FLOAT = TensorProto.FLOAT


def integers(g: Builder, *shape: int, dtype=np.int8) -> str:
    low = 0 if np.dtype(dtype).kind == "u" else -100
    return g.weight(g.rng.integers(low, low + 200, shape).astype(dtype), "q")


def scale(g: Builder, *shape: int, dtype=np.float32) -> str:
    return g.weight((0.01 + 0.01 * g.rng.random(shape)).astype(dtype), "s")


def cast(g: Builder, x: str, to: int = FLOAT) -> str:
    return g.node("Cast", [x], to=to)


def plain(g: Builder, rows: int, columns: int) -> str:
    return g.node("Mul", [cast(g, integers(g, rows, columns)), scale(g, 1, columns)])


def other_way_round(g: Builder, rows: int, columns: int) -> str:
    return g.node("Mul", [scale(g, columns), cast(g, integers(g, rows, columns))])


def one_scale(g: Builder, rows: int, columns: int) -> str:
    return g.node("Mul", [cast(g, integers(g, rows, columns)), scale(g)])


def inverse(g: Builder, rows: int, columns: int) -> str:
    steps = g.weight((50 + 50 * g.rng.random((1, columns))).astype(np.float32), "s")
    return g.node("Div", [cast(g, integers(g, rows, columns)), steps])


def from_a_point(g: Builder, rows: int, columns: int) -> str:
    point = g.weight(g.rng.integers(90, 140, (1, columns)).astype(np.float32), "z")
    x = g.node("Sub", [cast(g, integers(g, rows, columns, dtype=np.uint8)), point])
    return g.node("Mul", [x, scale(g, 1, columns)])


def from_one_point(g: Builder, rows: int, columns: int) -> str:
    """The zero point is an integer as well, and one scale serves all: zeroed means 128."""
    point = cast(g, g.weight(np.array(128, np.uint8), "z"))
    x = g.node("Sub", [cast(g, integers(g, rows, columns, dtype=np.uint8)), point])
    return g.node("Mul", [x, scale(g)])


def as_integers(g: Builder, rows: int, columns: int) -> str:
    point = cast(g, g.weight(np.array([[7]], np.int8), "z"), TensorProto.INT32)
    x = g.node("Sub", [cast(g, integers(g, rows, columns), TensorProto.INT32), point])
    return g.node("Mul", [cast(g, x), scale(g)])


def transposed(g: Builder, rows: int, columns: int) -> str:
    """As torch has it, (columns, rows), with a scale and a point for every column."""
    w = integers(g, columns, rows, dtype=np.uint8)
    point = g.weight(g.rng.integers(90, 140, columns).astype(np.uint8), "z")
    x = cast(g, g.node("Transpose", [w], perm=[1, 0]))
    return g.node("Mul", [g.node("Sub", [x, cast(g, point)]), scale(g, columns)])


def transposed_after(g: Builder, rows: int, columns: int) -> str:
    x = g.node("Mul", [cast(g, integers(g, columns, rows)), g.unsqueeze(scale(g, columns), [1])])
    return g.node("Transpose", [x], perm=[1, 0])


def by_groups(g: Builder, rows: int, columns: int) -> str:
    """Four rows share a scale: (rows/4, 4, columns)."""
    x = cast(g, g.reshape(integers(g, rows, columns), [rows // 4, 4, columns]))
    return g.reshape(g.node("Mul", [x, scale(g, rows // 4, 1, columns)]), [rows, columns])


FORMS = [
    plain, other_way_round, one_scale, inverse, from_a_point, from_one_point, as_integers,
    transposed, transposed_after, by_groups,
]  # fmt: skip


def network(form: Callable[[Builder, int, int], str]) -> onnx.ModelProto:
    g = Builder()
    x = g.node("Relu", [g.node("MatMul", [g.input(8), form(g, 8, 16)])])
    return g.model(g.node("MatMul", [x, form(g, 16, 4)]))


def zeroed(proto: onnx.ModelProto, plan: dict) -> onnx.ModelProto:
    """The file, with what stands for zero in the integers that the plan removes; scales stay.

    The points of these networks: z0 is of q0, z1 of q1; of a transposed one, by row.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for tensor in result.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        point: np.ndarray = np.zeros(())
        if tensor.name[0] == "q":
            names = [t.name for t in proto.graph.initializer]
            if f"z{tensor.name[1:]}" in names:
                point = initializer(proto, f"z{tensor.name[1:]}")
                if point.ndim == 1:
                    point = point[:, None]
            point = np.broadcast_to(point, value.shape)
            for entry in plan["parameters"]:
                if entry["name"] == tensor.name:
                    place = (slice(None),) * entry["axis"] + (entry["removed"],)
                    value[place] = point[place]
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return result


@pytest.mark.parametrize("form", FORMS)
def test_they_are_weights(form):
    """Counted, scored as what they stand for, cut exactly, and with them their scales."""
    proto = network(form)
    model = spa.load(proto)
    assert {"q0", "q1"} <= set(model.counted_parameters)
    feeds = random_feeds(proto, 0, batch=2)
    made = {node.input[1]: node.output[0] for node in proto.graph.node if node.op_type == "MatMul"}
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    for name, number in zip(made, ("q0", "q1"), strict=True):
        want, have = run(shown, feeds, optimize=False)[name], model.numbers(number)
        have = have if have.shape == want.shape else have.T
        np.testing.assert_allclose(have, want, rtol=1e-5)
    result = spa.prune(model, ratio=0.5)
    assert result.plan.exact
    plan = result.plan.to_json()
    gone = {(e["name"], e["axis"]): len(e["removed"]) for e in plan["parameters"]}
    assert sorted(gone.values())[-1] == 8
    oracle = zeroed(proto, plan)
    for batch in (1, 3, 5):
        feeds = random_feeds(proto, batch, batch=batch)
        (want,), (have,) = (run(m, feeds).values() for m in (oracle, result.model))
        np.testing.assert_allclose(have, want, atol=1e-5 * np.abs(want).max())
    for name in ("q0", "q1"):
        assert initializer(result.model, name).dtype == initializer(proto, name).dtype
        assert initializer(result.model, name).size == initializer(proto, name).size // 2


def test_the_lines():
    assert described(network(plain)) == ["16: q0.1 q1.0 s0.1"]
    assert described(network(from_a_point)) == ["16: q0.1 q1.0 s0.1 z0.1"]
    assert described(network(one_scale)) == ["16: q0.1 q1.0"]


def test_other_kept_weights_are_refused():
    """Scales make zeros of what goes; that must not be all that is looked at."""
    proto = network(plain)
    model = spa.load(proto)
    result = spa.prune(model, ratio=0.5)
    other = onnx.ModelProto()
    other.CopyFrom(result.model)
    for tensor in other.graph.initializer:
        if tensor.name == "q1":
            value = np.random.default_rng(1).integers(-127, 127, tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.int8), "q1"))
    with pytest.raises(spa.VerificationError):
        spa.verify(model, other, result.plan)


@pytest.mark.parametrize("point", [False, True])
def test_a_table_whose_rows_are_looked_up(point):
    """An embedding in int8: its columns go, and stand for zero where they did."""
    g = Builder()
    ids = g.input(6, name="ids", dtype=TensorProto.INT64)
    x = cast(g, g.node("Gather", [integers(g, 20, 8), ids]))
    if point:
        x = g.node("Sub", [x, g.weight(np.arange(8, dtype=np.float32), "z")])
    x = g.node("Mul", [x, scale(g, 8)])
    keys = g.node("Transpose", [x], perm=[0, 2, 1])
    y = g.node("MatMul", [g.node("MatMul", [x, keys]), x])
    proto = g.model(g.node("MatMul", [y, g.normal(8, 3)]))
    assert described(proto) == ["8: q0.1 s0.0" + " w0.0" + (" z0.0" if point else "")]
    assert "q0" in spa.load(proto).counted_parameters


def test_positions_and_masks_are_no_weights():
    """They are small integers behind Cast and Mul as well."""
    g = Builder()
    x = g.node("MatMul", [g.input(4, 6), g.normal(6, 8)])
    mask = cast(g, g.weight(np.eye(4, dtype=np.uint8)[None], "q"))
    scores = g.node("MatMul", [x, g.node("Transpose", [x], perm=[0, 2, 1])])
    scores = g.node("Add", [scores, g.node("Mul", [mask, g.weight(np.float32(-9), "s")])])
    y = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), x])
    proto = g.model(g.node("MatMul", [y, g.normal(8, 3)]))
    assert "q0" not in spa.load(proto).counted_parameters
    prove(proto, plain=False)


def test_integers_that_are_read_twice_from_other_points_have_none():
    g = Builder()
    w = integers(g, 8, 16)
    ways = [
        g.node("Mul", [g.node("Sub", [cast(g, w), g.weight(np.float32(p), "z")]), scale(g)])
        for p in (1, 2)
    ]
    x = g.input(8)
    x = g.node("Add", [g.node("MatMul", [x, way]) for way in ways])
    model = spa.load(g.model(g.node("MatMul", [x, g.normal(16, 4)])))
    assert "q0" not in model.quantised
