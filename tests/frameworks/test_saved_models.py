"""Saved models of TensorFlow: exported and pruned as ONNX, never given back."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import onnx
import pytest

import spa
from experiments.bench import carried
from spa.cli.main import main
from spa.frameworks import Source, framework
from spa.graph.execute import run
from tests.frameworks.test_round_trip import NETWORKS

pytestmark = pytest.mark.slow
SAVE = """
import sys, keras
keras.models.load_model(sys.argv[1]).export(sys.argv[2], verbose=False)
"""


@pytest.fixture(scope="module")
def saved(installed, tmp_path_factory):
    """A folder with a saved model, pictures, and what the network gives for them."""
    folder, keras = tmp_path_factory.mktemp("saved"), framework("tensorflow")
    python = installed("tensorflow").python
    source = Source(f"{NETWORKS}/small_keras.py:small", {"classes": 4})
    keras.build(source, folder / "net.keras", (3, 8, 8), 0)
    done = subprocess.run(
        [str(python), "-c", SAVE, str(folder / "net.keras"), str(folder / "net")], check=False
    )
    assert done.returncode == 0
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    return folder / "net", x, keras.predict(folder / "net.keras", x)


def _output(path, x):
    proto = onnx.load(path)
    return run(proto, {proto.graph.input[0].name: x.transpose(0, 2, 3, 1)})[0]


def test_a_saved_model_is_exported(saved, tmp_path):
    folder, x, wanted = saved
    assert main(["export", str(folder), "-o", str(tmp_path / "net.onnx")]) == 0
    found = _output(tmp_path / "net.onnx", x)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_saved_model_is_pruned(saved, tmp_path, capsys):
    folder, x, wanted = saved
    smaller = tmp_path / "smaller.onnx"
    assert main(["prune", str(folder), "-o", str(smaller), "--ratio", "0.5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proof"]["equal"]
    assert document["reached"]["rp"] > 2
    assert _output(smaller, x).shape == wanted.shape


def test_a_saved_model_is_not_given_back(saved, tmp_path, capsys):
    folder, _, _ = saved
    smaller = tmp_path / "smaller.keras"
    assert main(["prune", str(folder), "-o", str(smaller), "--ratio", "0.5"]) == 1
    assert "which has no layers, as a saved model; write OUT.onnx" in capsys.readouterr().err
    assert not smaller.exists()


@pytest.mark.long
def test_a_real_saved_model_of_an_older_keras(installed):
    """It computes what the ONNX file does that its authors made of it, and is pruned."""
    installed("tensorflow")
    theirs = carried.basic_pitch()
    folder = carried.folder("basic-pitch") / "basic_pitch/saved_models/icassp_2022/nmp"
    ours = framework("tensorflow").export(folder)
    seconds = np.arange(43844) / 22050
    x = np.sin(2 * np.pi * 440 * seconds).astype(np.float32).reshape(1, -1, 1)
    found, wanted = (_by_shape_and_mean(run(p, {p.graph.input[0].name: x})) for p in (ours, theirs))
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(have, want, atol=1e-3 * np.abs(want).max())
    # Theirs has its batch norms folded, so that other channels are the least: the groups are alike.
    channels = [sorted(g.channels for g in spa.find_groups(spa.load(p))) for p in (ours, theirs)]
    assert channels[0] == channels[1] == [8, 32, 32]
    result = spa.prune(ours, ratio=0.3)
    assert result.proof.equal
    assert result.reached.rf > 1.2


def _by_shape_and_mean(outputs):
    """Two of the three outputs have one shape, and files order them in their own ways."""
    return sorted(outputs, key=lambda array: (array.shape, float(array.mean())))
