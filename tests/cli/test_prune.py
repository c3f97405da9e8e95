"""spa prune, option by option."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from spa.importance.aggregate import AGGREGATES, NORMALIZATIONS
from spa.importance.criterion import get
from spa.importance.criterion import names as criterion_names
from spa.pruning.widths import HEAD
from tests.cli.conftest import save
from tests.graphs import Builder, classifier


def kept(plan):
    """Channels that are left in each group of a plan file."""
    groups = json.loads(plan.read_text())["groups"]
    return [group["channels"] - len(group["removed"]) for group in groups]


@pytest.fixture
def prune(good, model, tmp_path):
    out, plan = tmp_path / "out.onnx", tmp_path / "plan.json"

    def call(*options, criterion="l1", source=model):
        out.unlink(missing_ok=True)
        result = good(
            "prune", source, "-o", out, "--plan", plan, "--json", "--criterion", criterion, *options
        )
        onnx.checker.check_model(onnx.load(str(out)), full_check=True)
        return result.document

    call.out, call.plan = out, plan
    return call


@pytest.mark.parametrize(("option", "value"), [("--rf", 2.0), ("--rp", 2.0)])
def test_factors_are_reached(prune, option, value):
    document = prune(option, value)
    name = option[2:]
    assert document["asked"] == {name: value}
    assert value <= document["reached"][name] <= 1.06 * value
    before, after = (document["params" if name == "rp" else "macs"][k] for k in ("dense", "pruned"))
    assert document["reached"][name] == pytest.approx(before / after)
    assert document["proof"]["equal"] is True
    assert document["exact"] is True


def test_a_factor_of_one_removes_nothing(prune, model):
    document = prune("--rf", 1)
    assert document["channels"]["removed"] == 0
    assert document["reached"] == {"rf": 1.0, "rp": 1.0}


def test_ratio_local_takes_more_where_floors_miss_it(prune):
    """18 of 44 would be 0.409."""
    prune("--ratio", 0.45, "--scope", "local")
    assert kept(prune.plan) == [8 - 4, 8 - 4, 12 - 5, 16 - 7]


def test_ratio_of_zero(prune):
    assert prune("--ratio", 0)["channels"]["removed"] == 0


def test_ratio_global_takes_the_share_of_all(prune):
    document = prune("--ratio", 0.5)
    assert document["channels"] == {"prunable": 44, "removed": 22}


def test_round_to(prune):
    prune("--rf", 1.5, "--round-to", 4)
    assert all(left % 4 == 0 for left in kept(prune.plan))


def test_min_channels(prune):
    prune("--ratio", 0.36, "--min-channels", 7)
    assert min(kept(prune.plan)) == 7


def test_max_ratio(prune):
    prune("--rf", 1.6, "--max-ratio", 0.25)
    assert all(left >= 0.75 * c for left, c in zip(kept(prune.plan), (8, 8, 12, 16), strict=True))


def test_include_and_exclude(prune):
    prune("--ratio", 0.5, "--scope", "local", "--include", "w1", "--include", "w3")
    # w1 is in the residual group and in the one inside the block, w3 in the residual group too
    assert kept(prune.plan) == [4, 4, 6, 16]
    prune("--ratio", 0.5, "--scope", "local", "--exclude", "b0")
    assert kept(prune.plan) == [4, 4, 12, 8]
    prune("--ratio", 0.5, "--scope", "local", "--include", "*", "--exclude", "n_gemm*")
    assert kept(prune.plan) == [4, 4, 6, 16]


@pytest.mark.parametrize("aggregate", sorted(AGGREGATES))
def test_aggregate(prune, aggregate):
    prune("--rf", 2, "--aggregate", aggregate)
    assert json.loads(prune.plan.read_text())["settings"]["aggregate"] == aggregate


@pytest.mark.parametrize("normalize", sorted(NORMALIZATIONS))
def test_normalize(prune, normalize):
    prune("--rf", 2, "--normalize", normalize)
    assert json.loads(prune.plan.read_text())["settings"]["normalize"] == normalize


def test_three_steps(prune):
    document = prune("--rf", 2, "--steps", 3)
    assert document["reached"]["rf"] == pytest.approx(2, rel=0.05)
    assert document["proof"]["equal"] is True


@pytest.mark.parametrize("criterion", sorted(criterion_names()))
def test_every_criterion(prune, criterion):
    data = ("--data", "noise") if get(criterion).needs.sees_data else ()
    document = prune("--rf", 2, *data, criterion=criterion)
    assert document["criterion"] == criterion
    assert document["proof"]["equal"] is True


def test_the_seed_decides_what_is_drawn(prune):
    def removed(*options):
        prune("--rf", 2, *options, criterion="random")
        return [group["removed"] for group in json.loads(prune.plan.read_text())["groups"]]

    first = removed("--seed", 5)
    assert removed("--seed", 5) == first
    assert removed("--seed", 6) != first
    removed("--seed", -3)  # any integer is a seed
    removed("--seed", 10**30)


def test_the_same_command_gives_the_same_bytes(prune):
    prune("--rf", 2)
    first = prune.out.read_bytes(), prune.plan.read_bytes()
    prune("--rf", 2)
    assert (prune.out.read_bytes(), prune.plan.read_bytes()) == first


@pytest.mark.parametrize("criterion", ["snip", "grasp"])
def test_data_for_gradients(prune, tmp_path, criterion):
    rng = np.random.default_rng(0)
    data = tmp_path / "data.npz"
    np.savez(data, x=rng.standard_normal((16, 3, 8, 8)), y=rng.integers(0, 5, 16))
    prune("--rf", 2, "--data", data, criterion=criterion)
    with_data = prune.out.read_bytes()
    prune("--rf", 2, "--data", "noise", criterion=criterion)
    assert prune.out.read_bytes() != with_data


def test_no_verify(prune, good, model):
    assert prune("--rf", 2, "--no-verify")["proof"] is None
    text = good("prune", model, "-o", prune.out, "--rf", 2, "--no-verify").out
    assert "not verified" in text


def test_the_text_says_what_was_asked_and_reached(good, model, tmp_path):
    text = good("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2).out
    assert text.startswith("asked rf 2; reached rf 2.0")
    assert "channels removed" in text
    assert "verified: equals the zeroed dense model" in text
    assert text.endswith(f"wrote {tmp_path / 'o.onnx'}\n")


def test_input_gives_the_example_shape(prune):
    document = prune("--rf", 2, "--input", "x=5x3x8x8")
    assert any("x 5x3x8x8" in check for check in document["proof"]["checks"])


def test_the_pruned_file_serves_other_batch_sizes(prune):
    prune("--rf", 2)
    session = onnxruntime.InferenceSession(str(prune.out))
    for batch in (1, 7):
        (y,) = session.run(None, {"x": np.zeros((batch, 3, 8, 8), np.float32)})
        assert y.shape == (batch, 5)


def test_the_output_is_not_the_input(refused, model):
    """The plan is of the dense model, and could not be applied or verified without it."""
    assert "same file" in refused("prune", model, "-o", model, "--rf", 2)


def test_the_end_says_what_shrank(good, model, tmp_path):
    text = good("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2).out
    lines = text.splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.split() == list(HEAD))
    sizes = {t.name: tuple(t.dims) for t in onnx.load(tmp_path / "o.onnx").graph.initializer}
    name, dense, pruned, left = lines[head + 1].split()
    assert "x".join(map(str, sizes[name])) == pruned != dense
    assert 0 < float(left.rstrip("%")) < 100
    assert any(line.startswith("outputs moved by") for line in lines)
    assert "--finetune" in lines[-2]


def test_a_model_without_a_group(good, refused, tmp_path):
    g = Builder()
    flat = g.node("Flatten", [g.input(3, 4, 4)])
    path = save(g.model(g.gemm(flat, 48, 5), dims=[["N", 5]]), tmp_path / "linear.onnx")
    assert good("inspect", path, "--json").document["groups"] == []
    line = refused("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2, code=2)
    assert "out of reach" in line
    assert "no group" in line
    document = good("prune", path, "-o", tmp_path / "o.onnx", "--rf", 1, "--json").document
    assert document["channels"] == {"prunable": 0, "removed": 0}


def test_dynamic_image_sizes(good, tmp_path):
    g = Builder()
    x = g.node("Relu", [g.conv(g.input("H", "W", name="x"), 3, 8)])
    proto = g.model(g.conv(x, 8, 4), dims=[["N", 4, "H", "W"]])
    channels = onnx.TensorShapeProto.Dimension(dim_value=3)
    proto.graph.input[0].type.tensor_type.shape.dim.insert(1, channels)
    path = save(proto, tmp_path / "sizes.onnx")
    good("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2)
    session = onnxruntime.InferenceSession(str(tmp_path / "o.onnx"))
    for size in ((8, 9), (40, 31)):
        (y,) = session.run(None, {"x": np.zeros((1, 3, *size), np.float32)})
        assert y.shape == (1, 4, *size)


def test_tokens(good, tmp_path):
    g = Builder()
    tokens = onnx.helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ["N", "T"])
    g.inputs.append(tokens)
    x = g.node("Gather", [g.normal(11, 8), "tokens"])
    x = g.node("Relu", [g.node("MatMul", [x, g.normal(8, 16)])])
    y = g.node("MatMul", [x, g.normal(16, 4)])
    path = save(g.model(y, dims=[["N", "T", 4]]), tmp_path / "tokens.onnx")
    document = good("prune", path, "-o", tmp_path / "o.onnx", "--rf", 1.5, "--json").document
    assert document["proof"]["equal"] is True
    session = onnxruntime.InferenceSession(str(tmp_path / "o.onnx"))
    (y,) = session.run(None, {"tokens": np.zeros((3, 5), np.int64)})
    assert y.shape == (3, 5, 4)


def test_several_inputs(good, tmp_path):
    g = Builder()
    a, b = g.input(3, 8, 8, name="a"), g.input(2, 8, 8, name="b")
    joined = g.node("Concat", [g.conv(a, 3, 8), g.conv(b, 2, 8)], axis=1)
    y = g.conv(g.node("Relu", [joined]), 16, 4)
    path = save(g.model(y, dims=[["N", 4, 8, 8]]), tmp_path / "two.onnx")
    document = good("inspect", path, "--json").document
    assert document["inputs"] == {"a": [2, 3, 8, 8], "b": [2, 2, 8, 8]}
    shapes = ("--input", "a=1x3x8x8", "--input", "b=1x2x8x8")
    good("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2, *shapes)


@pytest.mark.parametrize("storage", ["constant", "identity", "input"])
def test_weights_in_every_place(good, tmp_path, storage):
    path = save(classifier(storage=storage), tmp_path / "m.onnx")
    document = good("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2, "--json").document
    assert document["proof"]["equal"] is True
