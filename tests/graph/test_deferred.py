"""Weights that are made when they are read, files in pieces, and models in stages."""

import hashlib

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

from spa.graph import stages as staging
from spa.graph.deferred import array_of, defer, held, is_deferred
from spa.graph.execute import run, run_each, run_in_stages
from spa.graph.observe import Observer
from spa.graph.pieces import pieces
from spa.graph.read import model_sha256
from spa.graph.stages import stages
from spa.graph.standins import show_through
from spa.graph.weightless import byte_size, without_weights

# The first two nodes belong to weights that are read last; `s` is wanted, and read further on.
TEXT = """
    <ir_version: 8, opset_import: ["": 17], metadata_props: ["a": "b"]>
    g (float[N,20] x, bool go) => (float[N,30] y, float[20,20] a, float[N,20] s) {
        ct = Transpose (c)
        ci = Identity (ct)
        s = MatMul (x, a)
        t = Relu (s)
        u = If (go) <then_branch = p () => (float[N,20] k) { k = MatMul (t, b) },
                     else_branch = q () => (float[N,20] k) { k = Add (s, t) }>
        v = Add (u, s)
        y = MatMul (v, ci)
    }"""
SHAPES = {"a": (20, 20), "b": (20, 20), "c": (30, 20)}


@pytest.fixture
def pair(monkeypatch):
    """A model, and the same with its weights deferred; each weight fills a stage."""
    monkeypatch.setattr(staging, "STAGE_BYTES", 1700)
    rng = np.random.default_rng(0)
    values = {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
    plain, deferred = onnx.parser.parse_model(TEXT), onnx.parser.parse_model(TEXT)
    bias = onnx.numpy_helper.from_array(np.ones(3, np.float32), "unread")
    for proto in (plain, deferred):
        proto.graph.initializer.append(bias)
    for name, value in values.items():
        plain.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        deferred.graph.initializer.append(
            defer(name, 1, value.shape, lambda name=name: values[name].copy())
        )
    return plain, deferred


def test_values(pair):
    plain, deferred = pair
    assert [is_deferred(t) for t in deferred.graph.initializer] == [False, True, True, True]
    for a, b in zip(plain.graph.initializer, deferred.graph.initializer, strict=True):
        np.testing.assert_array_equal(array_of(a), array_of(b))
    assert held(plain) is plain
    assert held(deferred) == plain


def test_pieces_are_the_file(pair):
    plain, deferred = pair
    for tensor in (plain.graph.initializer[2], deferred.graph.initializer[2]):
        tensor.doc_string = "behind the raw data"
    file = plain.SerializeToString(deterministic=True)
    assert b"".join(pieces(deferred)) == file
    assert len(list(pieces(deferred))) > 3
    assert model_sha256(deferred) == model_sha256(plain) == hashlib.sha256(file).hexdigest()
    assert byte_size(deferred) == pytest.approx(len(file), abs=200)


def test_stages_have_a_weight_each_at_the_time_when_it_is_needed(pair):
    light, large = without_weights(pair[1])
    found = stages(light, large, ["y", "s"])
    assert [[node.output[0] for node in stage.nodes] for stage in found] == [
        ["s", "t"], ["u", "v"], ["ct", "ci", "y"],
    ]  # fmt: skip
    assert [[t.name for t in stage.weights] for stage in found] == [["a"], ["b"], ["c"]]
    assert [stage.takes for stage in found] == [("x",), ("go", "t", "s"), ("v",)]
    assert [stage.gives for stage in found] == [("s", "t"), ("v",), ("y",)]
    assert [set(stage.last) & {"x", "go", "t", "v", "s"} for stage in found] == [
        {"x"},
        {"go", "t"},
        {"v"},
    ]


@pytest.mark.parametrize("go", [True, False])
@pytest.mark.parametrize("optimize", [True, False])
def test_runs_in_stages_give_the_same(pair, go, optimize):
    feeds = {"x": np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)}
    feeds["go"] = np.array(go)
    want, have = (run(p, feeds, also=["t", "x"][:1], optimize=optimize) for p in pair)
    assert len(want) == len(have) == 4
    for a, b in zip(want, have, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    inputs = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
    ((x,),), _ = run_in_stages(pair[1], [inputs], ["x"])
    np.testing.assert_array_equal(x.numpy(), feeds["x"])


def test_of_each_example_only_what_is_wanted_is_given(pair):
    """Also what a later stage takes, and what none does."""
    rng = np.random.default_rng(2)
    examples = [
        {"x": rng.standard_normal((rows, 20)).astype(np.float32), "go": np.array(True)}
        for rows in (3, 1)
    ]
    for proto in pair:
        whole = [run(proto, feeds, also=["t"]) for feeds in examples]
        names = [*(value.name for value in proto.graph.output), "t"]
        some = [["y"], ["t", "s"]]
        found = run_each(proto, examples, also=["t"], only=some)
        for i, (given, want) in enumerate(zip(found, whole, strict=True)):
            places = [k for k, name in enumerate(names) if name in some[i]]
            assert len(given) == len(places) > 0
            for value, place in zip(given, places, strict=True):
                np.testing.assert_allclose(value, want[place], rtol=1e-5)


def test_lists_stay_in_one_stage(pair):
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[N,20] x) => (float[N,20] y, float[N,20] z) {
            h = MatMul (x, a)
            k = MatMul (h, b)
            l = SequenceConstruct (h, k)
            i = ArgMax <axis = 1> (a)
            j = ReduceMin <keepdims = 0> (i)
            y = SequenceAt (l, one)
            z = Relu (y)
        }""")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "one"))
    plain = onnx.ModelProto.FromString(proto.SerializeToString())
    for held_one, deferred in zip(
        pair[0].graph.initializer[1:], pair[1].graph.initializer[1:], strict=True
    ):
        plain.graph.initializer.append(held_one)
        proto.graph.initializer.append(deferred)
    feeds = {"x": np.ones((2, 20), np.float32)}
    np.testing.assert_allclose(run(proto, feeds), run(plain, feeds), rtol=1e-5)
    seen, real = (Observer(model).run(feeds) for model in (proto, plain))
    assert (seen.shapes, seen.dtypes) == (real.shapes, real.dtypes)
    np.testing.assert_array_equal(seen.values["j"], real.values["j"])


@pytest.mark.parametrize(
    ("body", "shows"),
    [
        ("h = MatMul (x, w)  y = Relu (h)", False),
        ("h = MatMul (x, w)  s = Shape (h)  r = Cast <to = 7> (s)  y = Reshape (h, r)", False),
        ("h = MatMul (x, w)  y = ArgMax (h)", True),
        ("h = MatMul (x, w)  b = Greater (h, x)  y = Where (b, h, x)", True),
        ("h = MatMul (x, w)  y = Unique (h)", True),
        ("y = ReduceMax <keepdims = 0> (w)", True),
        ("t = Transpose (w)  y = MatMul (x, t)", False),
        ("h = ReduceMax <axes = [0]> (w)  y = Add (x, h)", False),
        ("""y = If (go) <then_branch = p () => (float[N,20] k) { k = MatMul (x, w) },
            else_branch = q () => (float[N,20] k) { k = Identity (x) }>""", True),
    ],
)  # fmt: skip
def test_where_zeros_show_through(body, shows):
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[N,20] x, bool go) => (float[N,20] y) {{ {body} }}""")
    value = np.random.default_rng(0).standard_normal((20, 20)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(value, "w"))
    feeds = {"x": np.ones((2, 20), np.float32), "go": np.array(True)}
    real = Observer(proto).run(feeds)
    assert show_through(proto.graph, {"w"}, real.dtypes, real.values) == shows
    proto.graph.initializer[0].CopyFrom(defer("w", 1, [20, 20], lambda: value))
    seen = Observer(proto).run(feeds)
    assert (seen.shapes, seen.dtypes) == (real.shapes, real.dtypes)
    for name, known in real.values.items():
        np.testing.assert_array_equal(seen.values[name], known)
