"""``spa prune --method obspa``."""

import json

import numpy as np
import onnx
import pytest

from spa.cli.main import main
from tests.graphs import classifier

IMAGES = np.random.default_rng(0).standard_normal((24, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    onnx.save(classifier(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def prune(model, *arguments):
    return main(["prune", str(model), "-o", str(model.with_name("o.onnx")), "--rf", "1.5",
                 *map(str, arguments)])  # fmt: skip


@pytest.mark.parametrize("kind", ["npz", "named npz", "samples", "batches", "noise", "uniform"])
def test_inputs_come_from_files_folders_or_nothing(model, tmp_path, capsys, kind):
    where = tmp_path / "inputs"
    if kind.endswith("npz"):
        where = where.with_suffix(".npz")
        np.savez(where, **{"x" if kind == "npz" else model_input(model): IMAGES})
    elif kind in ("samples", "batches"):
        where.mkdir()
        for i, sample in enumerate(IMAGES):
            np.save(where / f"{i:02}.npy", sample if kind == "samples" else sample[None])
    else:
        where = kind
    assert prune(model, "--method", "obspa", "--calibration", where, "--samples", 20, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    method = document["method"]
    assert method["name"] == method["method"] == "obspa"
    assert method["samples"] == 20
    assert method["calibration_used"] == (kind if kind in ("noise", "uniform") else "data")
    assert method["layers_refitted"] > 0
    assert document["criterion"] == "l1"
    assert document["proof"] is not None
    onnx.checker.check_model(onnx.load(model.with_name("o.onnx")), full_check=True)


def model_input(model):
    return onnx.load(model).graph.input[0].name


def test_choices_reach_the_plan(model, tmp_path):
    plan = tmp_path / "plan.json"
    assert prune(
        model, "--method", "obspa", "--calibration", "noise", "--samples", 16, "--plan", plan,
        "--criterion", "l2", "--refit-to", "own", "--damping", "oas", "--batch-norms", "relative",
        "--swaps", 1, "--greedy", "--no-intercept", "--steps", 2, "--seed", 5, "--memory", 0.5,
    ) == 0  # fmt: skip
    written = json.loads(plan.read_text())
    assert written["criterion"] == "l2"
    chosen = written["settings"]["obspa"]
    expected = {
        "calibration": "noise", "samples": 16, "target_outputs": "own", "damping": "oas",
        "batch_norms": "relative", "swaps": 1, "greedy": True, "intercept": False, "rounds": 2,
        "seed": 5,
    }  # fmt: skip
    assert {name: chosen[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--swaps", 2], "--swaps goes with --method obspa"),
        (["--calibration", "noise"], "--calibration goes with --method obspa"),
        (["--method", "obspa", "--data", "noise"], "--data goes with --method spa"),
        (["--method", "obspa", "--aggregate", "max"], "--aggregate goes with --method spa"),
        (["--method", "obspa", "--calibration", "nowhere"], "neither a file nor a folder"),
        (["--method", "obspa", "--calibration", "self"], "needs a language model"),
        (["--method", "obspa", "--damping", "much"], "--damping must be a number or oas"),
        (["--method", "obspa", "--damping", "nan"], "damping must be a positive number"),
        (["--method", "obspa", "--samples", "-3"], "samples must be 1 or more"),
        (["--method", "obspa", "--memory", "nan", "--calibration", "noise"], "memory must be"),
        (["--method", "obspa", "--device", "nowhere", "--calibration", "noise"], "nowhere"),
        (["--method", "obspa", "--shares", "nothing"], "shares must be one of"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(model, capsys, arguments, named):
    assert prune(model, *arguments) == 1
    error = capsys.readouterr().err
    assert named in error
    assert len(error.strip().splitlines()) == 1
    assert not model.with_name("o.onnx").exists()


@pytest.mark.parametrize("content", ["nothing", "text", "shapes", "broken"])
def test_folders_that_hold_no_inputs_are_refused(model, tmp_path, capsys, content):
    where = tmp_path / "inputs"
    where.mkdir()
    if content == "text":
        np.save(where / "a.npy", np.array(["a"]))
    elif content == "shapes":
        np.save(where / "a.npy", IMAGES[0])
        np.save(where / "b.npy", IMAGES[0, :, :4])
    elif content == "broken":
        (where / "a.npy").write_bytes(b"\x93NUMPY")
    assert prune(model, "--method", "obspa", "--calibration", where) == 1
    assert "--calibration" in capsys.readouterr().err
