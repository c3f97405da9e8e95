"""Every bad input: one clear line on stderr, exit code 1 or 2, no traceback, nothing written."""

import json
import os
import random
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.conftest import save
from tests.cli.mutations import endless_loop, function_calling_itself
from tests.graphs import Builder, classifier, from_text


@pytest.fixture
def prune_refused(refused, tmp_path):
    """Runs ``spa prune`` on a file, and ``spa inspect``, where the model itself is bad."""

    def call(path, *options, also_inspect=True):
        if also_inspect:
            refused("inspect", path, *(o for o in options if "=" in str(o) or o == "--input"))
        return refused("prune", path, "-o", tmp_path / "out.onnx", "--rf", 2, *options)

    return call


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"This is a text file, and no model.\n" * 20, "not an ONNX model"),
        (b"\n", "not"),
        (bytes(4096), "not an ONNX model"),
        (b"\xff" * 1000, "not an ONNX model"),
        (b"PK\x03\x04" + bytes(100), "not an ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "no graph"),
    ],
)
def test_files_that_are_no_model(prune_refused, tmp_path, content, words):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    line = prune_refused(path)
    assert "bad.onnx" in line
    assert words in line


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file(prune_refused, model, share):
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * share)])
    assert "model.onnx" in prune_refused(model)


def test_missing_file_and_folder(prune_refused, tmp_path):
    assert "does not exist" in prune_refused(tmp_path / "nothing.onnx")
    assert "does not exist" in prune_refused(tmp_path / "no" / "folder.onnx")
    assert "is a folder" in prune_refused(tmp_path)
    prune_refused("x" * 300 + ".onnx")
    prune_refused("/proc/self/mem/model.onnx")
    assert "not a file" in prune_refused("/dev/null")
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    prune_refused(tmp_path / "loop.onnx")


def test_a_file_that_cannot_be_read(prune_refused, model, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(model), "read_bytes", denied)
    monkeypatch.setattr("tests.cli.conftest.tree", lambda folder: None)
    assert "Permission denied" in prune_refused(model)


# --- graphs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["", "ai.onnx", "com.acme", "ai.onnx.ml", "com.microsoft"])
def test_an_operator_that_nobody_knows(prune_refused, tmp_path, domain):
    g = Builder()
    x = g.conv(g.input(3, 8, 8), 3, 8)
    y = g.conv(g.node("Swishy", [x], domain=domain), 8, 4)
    path = save(g.model(y), tmp_path / "swishy.onnx")
    assert "Swishy" in prune_refused(path)


def test_an_operator_of_a_later_opset(prune_refused, tmp_path):
    g = Builder(opset=13)
    x = g.node("Mish", [g.conv(g.input(3, 8, 8), 3, 8)])  # since opset 18
    assert "Mish" in prune_refused(save(g.model(g.conv(x, 8, 4)), tmp_path / "mish.onnx"))


def _without_weight(proto):
    del proto.graph.initializer[5]


def _without_node(proto):
    del proto.graph.node[3]


def _reversed(proto):
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _output_of_nobody(proto):
    proto.graph.output[0].name = "nobody"


def _two_nodes_of_one_name(proto):
    proto.graph.node[1].output[0] = proto.graph.node[0].output[0]


def _short_weight(proto):
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]


def _wrong_dims(proto):
    proto.graph.initializer[0].dims[1] = 7


def _negative_dims(proto):
    proto.graph.initializer[0].dims[0] = -8


def _no_opset(proto):
    del proto.opset_import[:]


def _old_opset(proto):
    proto.opset_import[0].version = 6


def _future_opset(proto):
    proto.opset_import[0].version = 999


def _future_ir(proto):
    proto.ir_version = 99


def _wrong_channels(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def _no_outputs(proto):
    del proto.graph.output[:]


def _sequence_input(proto):
    value = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    proto.graph.input[0].CopyFrom(value)


def _string_weight(proto):
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.STRING, [2], [b"a", b"b"]))


def _no_element_type(proto):
    proto.graph.input[0].type.tensor_type.elem_type = 0


def _unknown_element_type(proto):
    proto.graph.input[0].type.tensor_type.elem_type = 77


def _unknown_weight_type(proto):
    proto.graph.initializer[0].data_type = 77


def _no_type(proto):
    proto.graph.input[0].ClearField("type")


def _endless_loop(proto):
    endless_loop(random.Random(0), proto)


def _function_calling_itself(proto):
    function_calling_itself(random.Random(0), proto)


def _empty_constant(proto):
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["nothing"]))


def _group_of_zero(proto):
    for entry in proto.graph.node[0].attribute:
        if entry.name == "group":
            entry.i = 0


@pytest.mark.parametrize(
    "damage",
    [
        _without_weight, _without_node, _reversed, _output_of_nobody, _two_nodes_of_one_name,
        _short_weight, _wrong_dims, _negative_dims, _no_opset, _old_opset, _future_opset,
        _future_ir, _wrong_channels, _no_outputs, _sequence_input, _string_weight,
        _no_element_type, _unknown_element_type, _unknown_weight_type, _no_type, _empty_constant,
        _group_of_zero, _endless_loop, _function_calling_itself,
    ],
)  # fmt: skip
def test_damaged_graphs(prune_refused, tmp_path, damage, monkeypatch):
    monkeypatch.setattr("spa.graph.execute.MAX_SECONDS", 0.5)
    proto = classifier()
    damage(proto)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(proto.SerializeToString())
    line = prune_refused(path)
    if damage is _endless_loop:
        assert "did not finish" in line
    if damage is _without_weight:
        assert "neither an input, nor an initializer" in line


def test_a_name_that_is_no_text(prune_refused, tmp_path):
    content = classifier().SerializeToString().replace(b"n_conv_0", b"n_\xff\xfe\xfdv_0")
    path = tmp_path / "names.onnx"
    path.write_bytes(content)
    assert "UTF-8" in prune_refused(path)


GIANT = 10**11  # elements, 400 GB


def _giant(op):
    g = Builder()
    x = g.input(3, 8, 8)
    if op == "ConstantOfShape":
        fill = numpy_helper.from_array(np.ones(1, np.float32))
        big = g.node("ConstantOfShape", [g.ints([GIANT])], value=fill)
    elif op == "Expand":
        big = g.node("Expand", [x, g.ints([1, 1, 1, 1, GIANT])])
    elif op == "Tile":
        big = g.node("Tile", [x, g.ints([1, GIANT // 10**6, 1000, 1000])])
    elif op == "Range":
        ends = [g.weight(np.float32(v)) for v in (0, GIANT, 1)]
        big = g.node("Range", ends)
    elif op == "computed":  # no number of the file is large
        shape = g.node("Mul", [g.ints([10**6]), g.ints([10**5])])
        big = g.node("ConstantOfShape", [g.node("Abs", [shape])])
    total = g.node("ReduceMax", [big], keepdims=0)
    return g.model(g.conv(g.node("Add", [x, total]), 3, 4))


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand", "Tile", "Range", "computed"])
def test_tensors_too_large_for_any_machine(prune_refused, tmp_path, op):
    prune_refused(save(_giant(op), tmp_path / "giant.onnx"))


@pytest.mark.parametrize(
    "dims", [[10**6, 3, 10**3, 10**3], [2**62, 3, 8, 8], ["N", 3, 10**5, 10**6]]
)
def test_inputs_too_large_for_any_machine(prune_refused, tmp_path, dims):
    g = Builder()
    x = g.input(3, 8, 8)
    g.inputs[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, dims))
    line = prune_refused(save(g.model(g.conv(x, 3, 4)), tmp_path / "huge.onnx"))
    assert "bytes" in line


# --- external data -------------------------------------------------------------------------------


@pytest.fixture
def external(tmp_path):
    """A model in a folder of its own with its weights in a file beside it; edits where it says."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "external.onnx"
    onnx.save(classifier(), str(path), save_as_external_data=True, location="w.bin",
              size_threshold=0)  # fmt: skip

    def edit(**entries):
        proto = onnx.load(str(path), load_external_data=False)
        tensor = proto.graph.initializer[0]
        for entry in tensor.external_data:
            if entry.key in entries:
                entry.value = str(entries[entry.key])
        path.write_bytes(proto.SerializeToString())
        return path

    return edit


def test_external_data_outside_the_folder(prune_refused, external, tmp_path):
    inside = tmp_path / "model" / "w.bin"
    shutil.copy(inside, tmp_path / "w.bin")
    for location in ("../w.bin", tmp_path / "w.bin", inside, "/etc/passwd", "../model/../w.bin"):
        assert "external data" in prune_refused(external(location=location))
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "w.bin")
    assert "outside" in prune_refused(external(location="link.bin"))
    (tmp_path / "model" / "out").symlink_to(tmp_path)
    assert "outside" in prune_refused(external(location="out/w.bin"))


def test_external_data_that_is_not_there(prune_refused, external):
    assert "missing" in prune_refused(external(location="other.bin"))
    prune_refused(external(location=""))
    prune_refused(external(location="."))
    prune_refused(external(location="x" * 300))


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 10**9}, {"offset": -1}, {"length": 10**9}, {"length": -4}, {"length": 4},
        {"offset": "many"}, {"length": "many"}, {"length": 2**70}, {"location": "w.bin\x00"},
    ],
)  # fmt: skip
def test_external_data_that_does_not_fit(prune_refused, external, entries):
    prune_refused(external(**entries))


def test_external_data_in_a_constant(prune_refused, tmp_path):
    proto = classifier(storage="constant")
    tensor = proto.graph.node[0].attribute[0].t
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd", 0, 864)
    tensor.ClearField("raw_data")
    path = tmp_path / "constant.onnx"
    path.write_bytes(proto.SerializeToString())
    assert "outside" in prune_refused(path)


# --- inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        "y=2x3x8x8", "x=2x3x8", "x=2x4x8x8", "x=2x3x9x8", "x=0x3x8x8", "x=-1x3x8x8", "x=",
        "=2x3x8x8", "x=2,3,8,8", "x=axbxcxd", "x=2x3x8x8x", "x=1.5x3x8x8", "x=1_0x3x8x8",
        "x=99999999999999999999x3x8x8", "x=10000000000x3x8x8", "x=100000000000000000x3x8x8",
    ],
)  # fmt: skip
def test_wrong_names_and_shapes_of_inputs(prune_refused, model, spec):
    assert spec.partition("=")[0] in prune_refused(model, "--input", spec)


def test_an_input_given_twice(prune_refused, model):
    line = prune_refused(model, "--input", "x=2x3x8x8", "--input", "x=3x3x8x8")
    assert "twice" in line


def test_the_message_names_what_there_is(refused, model):
    line = refused("inspect", model, "--input", "image=2x3x8x8")
    assert 'no input "image"' in line
    assert "x=?x3x8x8" in line


def test_sizes_that_cannot_be_guessed(refused, good, tmp_path):
    """The message gives the option to add, and with numbers for its question marks it works."""
    path = save(
        from_text(
            "g (float[N,T] x) => (float[N,1] y) { r = Reshape(x, s) h = MatMul(r, w)"
            " a = Relu(h) b = MatMul(a, v) y = Reshape(b, t) }",
            {"w": (7, 8), "v": (8, 1), "s": np.array([-1, 119]), "t": np.array([-1, 1])},
        ),
        tmp_path / "odd.onnx",
    )
    proto = onnx.load(str(path))
    proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ones((119, 8), np.float32), proto.graph.initializer[0].name)
    )
    save(proto, path)
    line = refused("inspect", path)
    assert "--input x=?x?" in line
    good("inspect", path, "--input", "x=2x119")


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--rf", "--rp"])
@pytest.mark.parametrize("value", ["0", "-2", "0.5", "nan", "inf", "-inf", "1e400"])
def test_factors_without_meaning(refused, model, tmp_path, option, value):
    line = refused("prune", model, "-o", tmp_path / "o.onnx", f"{option}={value}")
    assert option[2:] in line
    assert "at least 1" in line


@pytest.mark.parametrize("value", ["-0.1", "1", "1.5", "nan", "inf"])
def test_a_ratio_outside_0_and_1(refused, model, tmp_path, value):
    line = refused("prune", model, "-o", tmp_path / "o.onnx", f"--ratio={value}")
    assert "[0, 1)" in line


@pytest.mark.parametrize(
    "options", [("--rf", 1e6), ("--rp", 1e6), ("--rf", 3, "--max-ratio", 0.2),
                ("--rf", 4, "--min-channels", 8), ("--rf", 3, "--include", "b0"),
                ("--rf", 1.2, "--round-to", 64), ("--rf", 50, "--steps", 3)],
)  # fmt: skip
def test_out_of_reach(refused, good, model, tmp_path, options):
    """Exit code 2 with the value that is in reach, and that value is reached when asked for."""
    out = tmp_path / "o.onnx"
    name, asked, *rest = options
    line = refused("prune", model, "-o", out, *options, code=2)
    assert f"{asked:g} is out of reach" in line
    reachable = float(line.split("out of reach: ")[1].split()[0])
    assert 1 <= reachable < asked
    least = max(1.0, reachable * (1 - 1e-3))
    document = good("prune", model, "-o", out, name, least, *rest, "--json").document
    assert document["reached"][name[2:]] == pytest.approx(reachable, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--criterion", "l3"), "Did you mean"),
        (("--criterion", "snap"), "snip"),
        (("--criterion", "L1"), "l1"),
        (("--criterion", ""), "Known"),
        (("--round-to", 0), "round_to"),
        (("--min-channels", 0), "min_channels"),
        (("--max-ratio", -0.5), "max_ratio"),
        (("--max-ratio", 1.5), "max_ratio"),
        (("--max-ratio", "nan"), "max_ratio"),
        (("--steps", 0), "steps"),
        (("--include", "nothing*"), "nothing*"),
        (("--exclude", "nothing*"), "nothing*"),
    ],
)
def test_other_settings(refused, model, tmp_path, options, words):
    assert words in refused("prune", model, "-o", tmp_path / "o.onnx", "--rf", 1.5, *options)


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return path


X, Y = np.zeros((4, 3, 8, 8), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X}, {"y": Y}, {"x": X, "y": Y[:3]}, {"x": X[:0], "y": Y[:0]}, {"x": X[0], "y": Y[:3]},
        {"x": X, "y": Y + 5}, {"x": X, "y": Y - 1}, {"x": X, "y": Y + 0.5},
        {"x": X, "y": np.zeros((4, 5), np.int64)}, {"x": X.astype(str), "y": Y},
        {"x": X + np.nan, "y": Y}, {"x": np.zeros((4, 2, 8, 8)), "y": Y},
        {"x": np.zeros((4, 3, 9, 8)), "y": Y}, {"x": np.array([object()] * 4), "y": Y},
        {"x": np.float32(1), "y": Y},
    ],
)  # fmt: skip
def test_data_that_does_not_fit(refused, model, tmp_path, arrays):
    data = _npz(tmp_path / "data.npz", **arrays)
    command = ("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, "--criterion", "snip")
    refused(*command, "--data", data)


def test_data_files_that_are_damaged(refused, model, tmp_path):
    command = ("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, "--criterion", "snip")
    data = _npz(tmp_path / "data.npz", x=X + 1, y=Y)
    whole = data.read_bytes()
    torn = whole[:400] + bytes(200) + whole[600:]
    for content in (b"", b"text", whole[:1000], whole[:-30], torn):
        data.write_bytes(content)
        refused(*command, "--data", data)
    np.save(tmp_path / "alone.npy", X)
    refused(*command, "--data", tmp_path / "alone.npy")
    refused(*command, "--data", tmp_path / "nothing.npz")
    refused(*command, "--data", tmp_path)


# --- plans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no json", b"{", b"[]", b"null", b"3", b"{}", b"\xff\xfe\x00", b"[" * 100_000,
        b'{"schema": 2, "parameters": []}', b'{"schema": 1, "parameters": 3}',
    ],
)  # fmt: skip
def test_plan_files_that_are_no_plan(pruned, refused, tmp_path, content):
    model, out, plan = pruned
    plan.write_bytes(content)
    refused("apply", model, "--plan", plan, "-o", tmp_path / "o.onnx")
    refused("verify", model, out, "--plan", plan)


def test_missing_plan(pruned, refused, tmp_path):
    model, _, _ = pruned
    for plan in (tmp_path / "nothing.json", tmp_path, "x" * 300):
        refused("apply", model, "--plan", plan, "-o", tmp_path / "o.onnx")


def _drop(key):
    def change(plan):
        del plan[key]

    change.__name__ = f"without {key}"
    return change


def _entry(**values):
    def change(plan):
        plan["parameters"][0].update(values)

    change.__name__ = f"entry {values}"[:60]
    return change


def _torn(plan):
    del plan["parameters"][0]


def _everything(plan):
    for entry in plan["parameters"]:
        entry["removed"] = list(range(entry["size"]))


def _more(plan):
    plan["parameters"].append({"name": "w5", "axis": 0, "size": 5, "removed": [0]})


def _not_a_list(plan):
    plan["groups"] = {"id": 3}


def _settings(plan):
    plan["settings"] = {"attention": ["heads"]}


@pytest.mark.parametrize(
    "change",
    [
        *map(_drop, ("schema", "model", "criterion", "target", "reached", "parameters", "groups")),
        _entry(name="nothing"), _entry(axis=9), _entry(axis=-1), _entry(size=9999),
        _entry(removed=[0, 9999]), _entry(removed=[-1]), _entry(removed=["a"]),
        _entry(removed=5), _entry(removed=[1e999]), _entry(removed=[10**30]), _entry(axis=None),
        _entry(removed=[float("nan")]), _entry(uses=[3]), _entry(name=["w0"]),
        _torn, _everything, _more, _not_a_list, _settings,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_damaged_plans(pruned, refused, tmp_path, change):
    model, out, plan = pruned
    document = json.loads(plan.read_text())
    change(document)
    plan.write_text(json.dumps(document))
    refused("apply", model, "--plan", plan, "-o", tmp_path / "o.onnx")
    refused("apply", model, "--plan", plan, "-o", tmp_path / "o.onnx", "--no-verify")
    refused("verify", model, out, "--plan", plan)


def test_a_plan_of_another_model(pruned, refused, tmp_path):
    _, out, plan = pruned
    other = save(classifier(seed=1), tmp_path / "other.onnx")
    line = refused("apply", other, "--plan", plan, "-o", tmp_path / "o.onnx")
    assert "sha256" in line
    refused("verify", other, out, "--plan", plan)


def test_verify_refuses_bad_files(pruned, refused, tmp_path):
    model, _, plan = pruned
    for bad in (tmp_path, tmp_path / "nothing.onnx", plan, os.devnull):
        refused("verify", model, bad, "--plan", plan)
        refused("verify", bad, model, "--plan", plan)
        refused("profile", model, bad)
