"""spa prune --finetune: the smaller model is trained before it is written, whatever its format."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import onnx
import pytest

import spa
from spa.frameworks import Source, environments, framework
from spa.graph.execute import run
from tests.cli.conftest import save
from tests.frameworks.test_round_trip import FILES, NETWORKS
from tests.graphs import Builder, classifier

CLASSES = 4


def samples(path, count=96, layout="first", classes=CLASSES):
    """Pictures of some classes, which differ in a bright column."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, count)
    x = rng.standard_normal((count, 3, 8, 8)).astype(np.float32)
    x[np.arange(count), :, y, :] += 3
    np.savez(path, x=np.moveaxis(x, 1, -1) if layout == "last" else x, y=y)
    return path


@pytest.fixture
def data(tmp_path):
    return samples(tmp_path / "data.npz")


def accuracy(proto, path):
    with np.load(path) as arrays:
        x, y = arrays["x"], arrays["y"]
    return (run(proto, {proto.graph.input[0].name: x})[0].argmax(1) == y).mean()


def tuned_well(document):
    tuned = document["finetune"]
    assert tuned["loss"]["last"] < tuned["loss"]["first"]
    assert tuned["training_accuracy"]["after"] > 0.9 > tuned["training_accuracy"]["before"]
    assert any("all outputs are finite" in check for check in tuned["checks"])


FAST = ("--finetune-epochs", 15, "--finetune-lr", 0.02)


def test_an_onnx_file(spa_, model, data, tmp_path):
    out, plan = tmp_path / "small.onnx", tmp_path / "plan.json"
    command = ("prune", model, "-o", out, "--rf", 2, "--plan", plan, "--finetune", data)
    result = spa_(*command, *FAST, "--json")
    assert result.code == 0, result.err
    tuned_well(result.document)
    assert result.document["finetune"]["epochs"] == 15
    assert result.document["proof"]["equal"]
    assert (
        accuracy(onnx.load(out), data) == result.document["finetune"]["training_accuracy"]["after"]
    )
    # The plan is that of the pruned model before: it is replayed, and says what happened since.
    assert "Fine-tuned for 15 epochs" in json.loads(plan.read_text())["notes"][-1]
    plain = tmp_path / "plain.onnx"
    assert spa_("apply", model, "--plan", plan, "-o", plain).code == 0
    before = result.document["finetune"]["training_accuracy"]["before"]
    assert accuracy(onnx.load(plain), data) == before
    again = spa_(*command, *FAST)
    assert "fine-tuned: 15 epochs, loss " in again.out
    assert f"training accuracy {before:.1%} -> " in again.out


def test_without_it_nothing_is_tuned(good, model, tmp_path):
    document = good("prune", model, "-o", tmp_path / "small.onnx", "--rf", 2, "--json").document
    assert document["finetune"] is None


def test_a_fixed_batch_and_probabilities(spa_, data, tmp_path):
    """Batches are of the file's own size, and a softmax at the end is trained through."""
    g = Builder(17, batch=5)
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 12, stride=2)])
    x = g.node("Flatten", [g.node("Relu", [g.conv(x, 12, 8)])])
    path = save(g.model(g.node("Softmax", [g.gemm(x, 128, CLASSES)])), tmp_path / "fixed.onnx")
    out = tmp_path / "out.onnx"
    result = spa_("prune", path, "-o", out, "--ratio", 0.4, "--finetune", data, *FAST, "--json")
    assert result.code == 0, result.err
    tuned_well(result.document)
    assert "x 5x3x8x8" in result.document["finetune"]["checks"][0]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": (9, 3, 8), "y": 9}, "x of (9, 3, 8) with 9 labels, does not fit input x=?x3x8x8"),
        ({"x": (9, 8, 8, 3), "y": 9}, "does not fit input x=?x3x8x8"),
        ({"x": (9, 3, 8, 8), "y": 8}, "--finetune DATA has x of (9, 3, 8, 8) and y of (8,)"),
        ({"x": (9, 3, 8, 8), "y": 9, "shift": 3}, 'Labels must be from 0 to 4, as output "'),
        ({"x": (9, 3, 8, 8), "y": 9, "shift": -1}, "they are from -1 to "),
        ({"x": (9, 3, 8, 8), "y": 9, "kind": float}, "y of float64"),
        ({"x": (1, 3, 8, 8), "y": 1}, "needs 2 samples or more, but was given 1"),
        ({"x": (9, 3, 8, 8)}, "--finetune DATA cannot be read"),
    ],
)
def test_data_that_does_not_fit(refused, model, tmp_path, arrays, words):
    path = tmp_path / "data.npz"
    made = {"x": np.zeros(arrays["x"], np.float32)}
    if "y" in arrays:
        labels = np.arange(arrays["y"]) % 4 + arrays.get("shift", 0)
        made["y"] = labels.astype(arrays.get("kind", int))
    np.savez(path, **made)
    message = refused("prune", model, "-o", tmp_path / "o.onnx", "--rf", 2, "--finetune", path)
    assert words.replace("DATA", str(path)) in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--finetune-epochs", 0), "epochs of fine-tuning must be 1 or more; 0"),
        (("--finetune-batch", -1), "batch of fine-tuning must be 1 or more; -1"),
        (("--finetune-lr", "nan"), "learning rate of fine-tuning must be above 0 and finite; nan"),
        (("--finetune-lr", 1e30), "The loss is"),
        (("--finetune-schedule", "cosin"), 'no schedule "cosin". Did you mean cosine'),
        (("--finetune-schedule", "multistep"), "A multistep schedule needs milestones"),
        (("--finetune-distill", 2), "distill of fine-tuning is from 0 to 1; 2"),
        (("--finetune-distill-temperature", 0), "distill_temperature of fine-tuning must be above"),
        (("--finetune-ema", 1), "ema of fine-tuning is from 0 to below 1; 1"),
    ],
)
def test_numbers_without_meaning(refused, model, data, tmp_path, options, words):
    out = tmp_path / "o.onnx"
    assert words in refused("prune", model, "-o", out, "--rf", 2, "--finetune", data, *options)


@pytest.mark.parametrize("option", ["--finetune-epochs", "--finetune-label-smoothing"])
def test_how_without_what(refused, model, tmp_path, option):
    out = tmp_path / "o.onnx"
    message = refused("prune", model, "-o", out, "--rf", 2, option, 1)
    assert f"{option} says how" in message
    assert "add --finetune DATA.npz" in message


ALL = (
    *("--finetune-schedule", "multistep", "--finetune-milestones", "8,12", "--finetune-gamma", 0.3),
    *("--finetune-warmup", 1, "--finetune-label-smoothing", 0.1, "--finetune-ema", 0.9),
    *("--finetune-distill", 0.5, "--finetune-distill-temperature", 2),
)


def test_all_that_may_be_asked_of_it(spa_, model, data, tmp_path):
    """What is written holds the averaged weights: it is checked against the trained module."""
    out = tmp_path / "small.onnx"
    result = spa_("prune", model, "-o", out, "--rf", 2, "--finetune", data, *FAST, *ALL, "--json")
    assert result.code == 0, result.err
    tuned = result.document["finetune"]
    assert tuned["training_accuracy"]["after"] > 0.9 > tuned["training_accuracy"]["before"]
    assert accuracy(onnx.load(out), data) == tuned["training_accuracy"]["after"]


def test_a_dense_model_is_learned_from_through_its_softmax(data):
    """Files that end in a Softmax, and the same without it, learn alike from alike."""
    with np.load(data) as arrays:
        x, y = arrays["x"], arrays["y"]
    ended = []
    for softmax in (False, True):
        g = Builder(17)
        found = g.node("Flatten", [g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8, stride=2)])])
        scores = g.gemm(found, 128, CLASSES)
        dense = g.model(g.node("Softmax", [scores]) if softmax else scores)
        pruned = spa.prune(dense, ratio=0.5)
        tuning = spa.Tuning(epochs=2, lr=0.01, distill=1.0, distill_temperature=2.0)
        tuned = spa.finetune(pruned, x, y, tuning, dense=dense).pruned.model
        weights = {w.name: onnx.numpy_helper.to_array(w) for w in tuned.graph.initializer}
        ended.append(weights)
        start = {w.name: onnx.numpy_helper.to_array(w) for w in pruned.model.graph.initializer}
        assert any(np.abs(weights[name] - value).max() > 1e-3 for name, value in start.items())
    assert ended[0].keys() == ended[1].keys()
    for name, value in ended[0].items():
        np.testing.assert_allclose(ended[1][name], value, atol=1e-4)


def test_there_must_be_something_to_learn_from(data):
    with np.load(data) as arrays:
        x, y = arrays["x"], arrays["y"]
    pruned = spa.prune(classifier(), rf=2.0)
    with pytest.raises(spa.SettingError, match="no dense model to learn from"):
        spa.finetune(pruned, x, y, spa.Tuning(distill=0.5))
    g = Builder(17)
    other = g.model(g.gemm(g.node("Flatten", [g.input(3, 8, 8)]), 192, 7))
    with pytest.raises(spa.SettingError, match=r"other classes .* \(7,\), not \(5,\)"):
        spa.finetune(pruned, x, y, spa.Tuning(distill=0.5), dense=other)


def test_a_model_without_class_scores(refused, data, tmp_path):
    g = Builder()
    x = g.conv(g.conv(g.input(3, 8, 8), 3, 8), 8, 5)
    path = save(g.model(x), tmp_path / "maps.onnx")
    message = refused("prune", path, "-o", tmp_path / "o.onnx", "--rf", 2, "--finetune", data)
    assert "needs class scores of shape (N, classes)" in message
    assert "has shape (2, 5, 8, 8)" in message


def test_a_torch_module_by_its_name(spa_, data, tmp_path):
    name = f"{NETWORKS}/small_torch.py:fresh"
    out = tmp_path / "small.onnx"
    result = spa_(
        "prune", name, "--input", "x=2x3x8x8", "-o", out, "--rf", 2, "--finetune", data, *FAST,
        "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    tuned_well(result.document)
    assert accuracy(onnx.load(out), data) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jax", "mxnet", "tensorflow"])
def test_a_framework_s_own_format(spa_, tmp_path, name):
    """In and out: what is written predicts as well as the ONNX file that was trained."""
    environments.install(name)
    it = framework(name, [f"{NETWORKS}/small_{FILES[name]}.py"])
    dense, smaller = (tmp_path / f"{stem}{it.suffix}" for stem in ("dense", "smaller"))
    source = Source(f"{NETWORKS}/small_{FILES[name]}.py:small", {"classes": CLASSES})
    it.build(source, dense, (3, 8, 8), 0)
    layout = "first" if name == "mxnet" else "last"
    data = samples(tmp_path / "data.npz", layout=layout)
    shape = "3x8x8" if name == "mxnet" else "8x8x3"
    result = spa_(
        "prune", dense, "--input", f"x=2x{shape}", "-o", smaller, "--rf", 2, "--finetune", data,
        *FAST, "--code", f"{NETWORKS}/small_{FILES[name]}.py", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    tuned_well(result.document)
    with np.load(data) as arrays:
        x, y = arrays["x"], arrays["y"]
    guessed = it.predict(smaller, np.moveaxis(x, -1, 1) if layout == "last" else x).argmax(1)
    after = result.document["finetune"]["training_accuracy"]["after"]
    assert (guessed == y).mean() == pytest.approx(after, abs=0.02)


@pytest.mark.slow
def test_what_cannot_come_back_says_so_before_it_is_trained(spa_, tmp_path):
    environments.install("tensorflow")
    dense, smaller = tmp_path / "dense.keras", tmp_path / "smaller.keras"
    source = Source(f"{NETWORKS}/small_keras.py:unfollowed", {"classes": CLASSES})
    framework("tensorflow").build(source, dense, (3, 8, 8), 0)
    data = samples(tmp_path / "data.npz", layout="last")
    result = spa_("prune", dense, "-o", smaller, "--ratio", 0.5, "--finetune", data, *FAST)
    assert result.code == 1
    assert "is not followed" in result.err
    assert "Fine-tuning" not in result.err
    assert not smaller.exists()


@pytest.mark.slow
def test_a_saved_model(spa_, tmp_path):
    python = environments.install("tensorflow").python
    framework("tensorflow").build(
        Source(f"{NETWORKS}/small_keras.py:small", {"classes": CLASSES}),
        tmp_path / "dense.keras", (3, 8, 8), 0,
    )  # fmt: skip
    code = "import keras, sys; keras.models.load_model(sys.argv[1]).export(sys.argv[2])"
    files = [str(tmp_path / name) for name in ("dense.keras", "saved")]
    subprocess.run([python, "-c", code, *files], check=True, capture_output=True)
    data, out = samples(tmp_path / "data.npz", layout="last"), tmp_path / "small.onnx"
    result = spa_(
        "prune", files[1], "-o", out, "--rf", 2, "--finetune", data, *FAST, "--json"
    )  # fmt: skip
    assert result.code == 0, result.err
    tuned_well(result.document)
    assert accuracy(onnx.load(out), data) > 0.9
