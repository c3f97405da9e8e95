"""spa inspect, apply, verify and profile; what all commands share."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from tests.cli.conftest import save, tree
from tests.graphs import Builder, classifier


def test_inspect_shows_groups_and_reasons(good, model):
    document = good("inspect", model, "--json").document
    assert document["params"] == 4121
    assert document["macs"] == 129104
    assert [group["channels"] for group in document["groups"]] == [8, 8, 12, 16]
    assert all(group["exact"] for group in document["groups"])
    assert {"name": "w0", "axis": 0, "per_channel": 1} in document["groups"][0]["members"]
    assert {(entry["name"], entry["axis"]) for entry in document["kept"]} == {
        ("w0", 1), ("w5", 0), ("b2", 0),
    }  # fmt: skip
    assert all(entry["reason"] for entry in document["kept"])
    text = good("inspect", model).out
    for part in ("4,121 parameters", "4 groups, 44 prunable", "kept dense", "output of the model"):
        assert part in text


def test_inspect_shows_free_sizes_and_their_names(good, tmp_path):
    g = Builder()
    for name, dims in (("x", ["N", 3, "H", None]), ("mask", ["N", 1, "H", None])):
        g.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    path = tmp_path / "free.onnx"
    onnx.save(g.model(g.node("Mul", [g.conv("x", 3, 8), "mask"])), path)
    free = good("inspect", path, "--json").document["free"]
    assert [(size["name"], size["named"]) for size in free] == [
        ("N", True), ("H", True), ("x[3]", False), ("mask[3]", False),
    ]  # fmt: skip
    assert free[1]["axes"] == [["x", 2], ["mask", 2]]
    assert len(free[0]["tried"]) == 2
    assert "free size H: x axis 2, mask axis 2; run at" in good("inspect", path).out


def test_inspect_does_not_change_the_folder(good, model, tmp_path):
    before = tree(tmp_path)
    good("inspect", model)
    assert tree(tmp_path) == before


def test_apply_gives_the_same_bytes(pruned, good, tmp_path):
    model, out, plan = pruned
    again = tmp_path / "again.onnx"
    document = good("apply", model, "--plan", plan, "-o", again, "--json").document
    assert again.read_bytes() == out.read_bytes()
    assert document["proof"]["equal"] is True
    assert document["reached"] == json.loads(plan.read_text())["reached"]
    text = good("apply", model, "--plan", plan, "-o", again, "--no-verify").out
    assert "not verified" in text
    assert again.read_bytes() == out.read_bytes()


def test_apply_replays_several_steps(model, good, tmp_path):
    out, plan, again = (tmp_path / name for name in ("o.onnx", "p.json", "a.onnx"))
    good("prune", model, "-o", out, "--plan", plan, "--rp", 3, "--steps", 3, "--criterion", "l2")
    good("apply", model, "--plan", plan, "-o", again)
    assert again.read_bytes() == out.read_bytes()


def test_the_plan_names_slices_that_anyone_can_zero(pruned):
    """The promise of the plan format, checked with onnx and NumPy alone."""
    import hashlib

    import onnxruntime

    model, out, plan = pruned
    document = json.loads(plan.read_text())
    assert document["schema"] == 1
    assert document["model"] == hashlib.sha256(model.read_bytes()).hexdigest()
    zeroed = onnx.load(str(model))
    weights = {tensor.name: tensor for tensor in zeroed.graph.initializer}
    contracted = {i for n in zeroed.graph.node if n.op_type in ("Conv", "Gemm") for i in n.input}
    for entry in document["parameters"]:
        tensor = weights[entry["name"]]
        array = numpy_helper.to_array(tensor).copy()
        assert array.shape[entry["axis"]] == entry["size"]
        if entry["name"] in contracted:
            np.moveaxis(array, entry["axis"], 0)[entry["removed"]] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    x = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
    ours, theirs = (
        onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
        for data in (out.read_bytes(), zeroed.SerializeToString())
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_verify_passes(pruned, good):
    model, out, plan = pruned
    document = good("verify", model, out, "--plan", plan, "--json").document
    assert document["equal"] is True
    assert 0 <= document["difference"] <= 1e-4
    assert "equals the zeroed dense model" in good("verify", model, out, "--plan", plan).out


def _scaled(proto):
    for tensor in proto.graph.initializer:
        if tensor.name == "w4":
            tensor.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(tensor), "w4"))


def _one_bias(proto):
    for tensor in proto.graph.initializer:
        if tensor.name == "b2":
            array = numpy_helper.to_array(tensor).copy()
            array[0] += 0.05
            tensor.CopyFrom(numpy_helper.from_array(array, "b2"))


def _no_relu(proto):
    for node in proto.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Identity"


def _renamed(proto):
    proto.graph.input[0].name = "other"
    for node in proto.graph.node:
        node.input[:] = ["other" if name == "x" else name for name in node.input]


def _broken(proto):
    proto.graph.node[3].input[0] = "nowhere"


@pytest.mark.parametrize("tamper", [_scaled, _one_bias, _no_relu, _renamed, _broken])
def test_verify_fails_on_a_tampered_file(pruned, refused, tamper):
    model, out, plan = pruned
    proto = onnx.load(str(out))
    tamper(proto)
    save(proto, out)
    refused("verify", model, out, "--plan", plan)


def test_verify_does_not_take_the_plan_at_its_word(pruned, refused):
    """A plan that calls its groups not exact must not switch the comparison off."""
    model, out, plan = pruned
    document = json.loads(plan.read_text())
    for group in document["groups"]:
        group["exact"] = False
    plan.write_text(json.dumps(document))
    proto = onnx.load(str(out))
    _scaled(proto)
    save(proto, out)
    refused("verify", model, out, "--plan", plan)


def test_verify_fails_on_the_dense_model_and_on_another_plan(pruned, refused, good, tmp_path):
    model, out, plan = pruned
    refused("verify", model, model, "--plan", plan)
    other = tmp_path / "other.json"
    good("prune", model, "-o", tmp_path / "o.onnx", "--plan", other, "--rf", 1.5)
    refused("verify", model, out, "--plan", other)


def test_profile(pruned, good):
    model, out, _ = pruned
    document = good("profile", model, out, "--json", "--rounds", 5, "--threads", 1).document
    dense, smaller = document["models"]
    assert document["inputs"] == {"x": [2, 3, 8, 8]}
    assert dense["params"] > smaller["params"]
    assert dense["macs"] > smaller["macs"]
    assert dense["file_bytes"] == model.stat().st_size
    assert smaller["file_bytes"] == out.stat().st_size
    for row in document["models"]:
        latency = row["latency_ms"]
        assert 0 < latency["p10"] <= latency["median"] <= latency["p90"]
        assert latency["rounds"] == 5
    text = good("profile", model, out, "--rounds", 5).out.splitlines()
    assert len(text) == 4
    assert "speed-up" in text[1]
    assert text[2].startswith(str(model))
    assert len(good("profile", model, "--rounds", 5).out.splitlines()) == 3


def test_profile_counts_external_data(good, tmp_path):
    path = tmp_path / "external.onnx"
    onnx.save(
        classifier(), str(path), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (row,) = good("profile", path, "--rounds", 5, "--json").document["models"]
    assert row["file_bytes"] == path.stat().st_size + (tmp_path / "w.bin").stat().st_size


def test_profile_refuses_what_does_not_compare(refused, model, tmp_path):
    g = Builder()
    other = save(g.model(g.conv(g.input(4, 8, 8, name="z"), 4, 4)), tmp_path / "z.onnx")
    line = refused("profile", model, other)
    assert "z.onnx" in line
    refused("profile", model, "--rounds", 0)
    refused("profile", model, "--threads", -1)


def test_external_data_comes_along(good, tmp_path):
    path, out = tmp_path / "external.onnx", tmp_path / "o.onnx"
    onnx.save(
        classifier(), str(path), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    good("prune", path, "-o", out, "--rf", 2)
    (tmp_path / "w.bin").unlink()
    onnx.checker.check_model(str(out), full_check=True)  # small results hold their own weights


# --- what all commands share --------------------------------------------------------------------


def every_command(model, out, plan, to):
    yield "inspect", model
    yield "prune", model, "-o", to, "--rf", 2
    yield "apply", model, "--plan", plan, "-o", to
    yield "verify", model, out, "--plan", plan
    yield "profile", model, out, "--rounds", 5


def test_json_and_text_of_every_command(pruned, good, tmp_path):
    for command in every_command(*pruned, tmp_path / "to.onnx"):
        assert isinstance(good(*command, "--json").document, dict)
        text = good(*command).out
        assert text.endswith("\n")
        assert "{" not in text


def test_json_of_a_failure(spa_, model, tmp_path):
    out = tmp_path / "o.onnx"
    result = spa_("prune", model, "-o", out, "--rf", 1e6, "--json")
    assert result.code == 2
    assert result.document["kind"] == "InfeasibleTarget"
    assert result.document["asked"] == 1e6
    reachable = result.document["reachable"]
    assert f"{reachable:.4g}" in result.err
    # what is called reachable can be reached
    again = spa_("prune", model, "-o", out, "--rf", reachable * (1 - 1e-9), "--json")
    assert again.code == 0
    result = spa_("inspect", tmp_path / "nothing.onnx", "--json")
    assert result.code == 1
    assert result.document["kind"] == "ModelError"


def test_help_and_version(spa_):
    for command in ((), ("inspect",), ("prune",), ("apply",), ("verify",), ("profile",)):
        result = spa_(*command, "--help")
        assert result.code == 0
        assert result.out.startswith("usage: spa")
        assert result.err == ""
    result = spa_("--version")
    assert (result.code, result.out) == (0, f"spa {spa.__version__}\n")


@pytest.mark.parametrize(
    "line",
    [
        (),
        ("prun", "m.onnx"),
        ("prune",),
        ("prune", "m.onnx", "-o", "o.onnx"),
        ("prune", "m.onnx", "--rf", "2"),
        ("prune", "m.onnx", "-o", "o.onnx", "--rf", "2", "--rp", "2"),
        ("prune", "m.onnx", "-o", "o.onnx", "--rf", "two"),
        ("prune", "m.onnx", "-o", "o.onnx", "--rf", "2", "--scope", "everywhere"),
        ("prune", "m.onnx", "-o", "o.onnx", "--rf", "2", "--aggregate", "avg"),
        ("prune", "m.onnx", "-o", "o.onnx", "--rf", "2", "--steps", "many"),
        ("apply", "m.onnx", "-o", "o.onnx"),
        ("inspect", "m.onnx", "--frobnicate"),
    ],
)
def test_a_wrong_command_line_is_one_line(refused, line):
    refused(*line, code=2)


# --- as a process of its own --------------------------------------------------------------------


def process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "spa", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip


def test_a_process_of_its_own(model, tmp_path):
    out = tmp_path / "o.onnx"
    done = process("prune", model, "-o", out, "--rf", 2, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["proof"]["equal"] is True
    done = process("prune", model, "-o", tmp_path / "p.onnx", "--rf", 1e6)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("spa: error: rf 1e+06 is out of reach")
    assert not (tmp_path / "p.onnx").exists()


def test_a_closed_pipe_is_no_failure(tmp_path):
    """As in ``spa inspect model.onnx | head -1``."""
    g = Builder()
    x = g.input(3, 4, 4)
    for _ in range(200):  # more text than a pipe holds
        x = g.node("Relu", [g.conv(x, 3, 3, 1)])
    path = save(g.model(x), tmp_path / "deep.onnx")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "spa", "inspect", str(path)],
            stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.stderr == ""


def test_names_that_the_terminal_cannot_show(tmp_path):
    g = Builder()
    y = g.conv(g.conv(g.input(3, 8, 8, name="entrée→"), 3, 8), 8, 4)
    path = save(g.model(y), tmp_path / "names.onnx")
    done = process("inspect", path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "entr" in done.stdout


def noisy_models():
    """Models that make ONNX Runtime warn when nobody tells it not to."""
    old = classifier(storage="input")
    old.ir_version = 3
    yield "weights as inputs at IR 3", old
    unused = classifier()
    unused.graph.initializer.append(numpy_helper.from_array(np.ones(7, np.float32), "unused"))
    unused.graph.node.append(onnx.helper.make_node("Constant", [], ["idle"], value_float=1.0))
    unused.graph.node.append(onnx.helper.make_node("Neg", ["idle"], ["idler"]))
    yield "unused weights and nodes", unused
    yield "constants", classifier(storage="constant")
    stale = classifier()
    wrong = onnx.helper.make_tensor_value_info("relu_0", onnx.TensorProto.FLOAT, ["N", 99, 8, 8])
    stale.graph.value_info.append(wrong)
    yield "stale annotations", stale
    wrong_output = classifier()
    del wrong_output.graph.output[0].type.tensor_type.shape.dim[:]
    for size in (2, 5, 1):
        wrong_output.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    yield "an output of another rank", wrong_output


@pytest.mark.parametrize("named", list(noisy_models()), ids=lambda named: named[0])
def test_no_noise_of_libraries(tmp_path, named):
    path = save(named[1], tmp_path / "noisy.onnx")
    done = process("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2, "--criterion", "l1")
    said = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    assert (done.returncode, said) == (0, [])


@pytest.mark.slow
def test_no_noise_of_torch(tmp_path, model):
    done = process("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, "--criterion", "snip",
                   "--data", "noise")  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    assert (done.returncode, said) == (0, [])
