"""spa frameworks and spa export."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from spa.frameworks import Source, environments, framework
from spa.graph.execute import run
from tests.frameworks.conftest import pins  # noqa: F401
from tests.frameworks.test_round_trip import NETWORKS

MODULE = """
import torch

def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))

def list_of_one():
    return [1]
"""


@pytest.mark.usefixtures("pins")
def test_frameworks_lists_environments(good):
    (entry,) = good("frameworks", "--json").document["frameworks"]
    assert (entry["name"], entry["ready"], entry["packages"]) == ("tiny", False, {})
    assert "tiny         not made" in good("frameworks").out


@pytest.mark.slow
@pytest.mark.usefixtures("pins")
def test_frameworks_makes_environments(spa_):
    (entry,) = spa_("frameworks", "install", "tiny", "--json").document["frameworks"]
    assert entry["ready"]
    assert "pip" in entry["packages"]


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_torch_module_by_its_name(good, module):
    document = good(
        "export", "nets_of_mine.py:small", "--shape", "3x8x8", "-o", "small.onnx", "--json"
    ).document
    assert document["framework"] == "pytorch"
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
    x = torch.randn(2, 3, 8, 8)
    (found,) = run(onnx.load("small.onnx"), {"input": x.numpy()})
    np.testing.assert_allclose(found, net(x).detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nets_of_mine.py:small"], "give the shape of one example of each input"),
        (["nets_of_mine.py:smal", "--shape", "3x8x8"], 'has no function "smal"'),
        (["nets_of_mine.py:list_of_one", "--shape", "3x8x8"], "made a list, not a torch.nn.Module"),
        (["no_such_module_here:f", "--shape", "3"], '"no_such_module_here" cannot be imported'),
        (["nets_of_mine.py:small", "--shape", "3 by 8"], "is not of the form"),
        (["what.is.this"], "cannot be told whose model"),
        (["net.keras", "--framework", "mxnet"], "mxnet"),
    ],
)
def test_what_cannot_be_exported_is_refused(spa_, module, arguments, words, monkeypatch):
    monkeypatch.setenv("SPA_ENVIRONMENTS", str(module / "none"))
    result = spa_("export", *arguments, "-o", "out.onnx")
    assert result.code == 1
    assert words in result.err
    assert "defect" not in result.err
    assert not (module / "out.onnx").exists()


def test_a_torch_module_is_pruned_by_its_name(good, module):
    document = good(
        "prune", "nets_of_mine.py:small", "--input", "input=2x3x8x8", "-o", "small.onnx",
        "--ratio", "0.5", "--json",
    ).document  # fmt: skip
    assert document["reached"]["rp"] > 1.5
    assert document["proof"]["equal"]
    onnx.checker.check_model(onnx.load("small.onnx"), full_check=True)


def test_a_result_in_another_framework_s_format_is_refused(spa_, module):
    result = spa_("prune", "nets_of_mine.py:small", "--rf", "2", "-o", "small.keras")
    assert result.code == 1
    assert "is a file of tensorflow, but nets_of_mine.py:small is of pytorch" in result.err


def test_a_format_that_cannot_be_made_is_refused_before_the_work(refused, module, tmp_path):
    message = refused("prune", "nets_of_mine.py:small", "--rf", "2", "-o", "small.pt")
    assert "cannot be made of nets_of_mine.py:small, which is code; write OUT.onnx" in message
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"")
    message = refused("prune", folder, "--rf", "2", "-o", "small.keras")
    assert "has no layers, as a saved model; write OUT.onnx" in message


def test_a_framework_that_does_not_fit_is_refused_before_the_work(refused, module):
    small = ["nets_of_mine.py:small", "--rf", "2"]
    message = refused("prune", *small, "--framework", "jax", "-o", "small.keras")
    assert "is a file of tensorflow, but nets_of_mine.py:small is of jax" in message
    message = refused("prune", *small, "--framework", "jax", "-o", "small.npz")
    assert "which is code; write OUT.onnx" in message
    message = refused("prune", "a.onnx", "--rf", "2", "--framework", "jax", "-o", "small.onnx")
    assert "a.onnx is an ONNX file; leave --framework jax out" in message


@pytest.mark.slow
def test_a_linen_module_is_pruned_by_its_name(good, module):
    environments.install("jax")
    document = good(
        "prune", f"{NETWORKS}/small_linen.py:small", "--framework", "jax", "--input", "x=2x8x8x3",
        "-o", "small.onnx", "--ratio", "0.5", "--json",
    ).document  # fmt: skip
    assert document["reached"]["rp"] > 1.5
    assert document["proof"]["equal"]
    onnx.checker.check_model(onnx.load("small.onnx"), full_check=True)


@pytest.mark.slow
def test_a_keras_file_goes_in_and_comes_out(spa_, tmp_path):
    environments.install("tensorflow")
    source = Source(f"{NETWORKS}/small_keras.py:small", {"classes": 4})
    keras = framework("tensorflow")
    keras.build(source, tmp_path / "dense.keras", (3, 8, 8), 0)
    smaller, plan = tmp_path / "smaller.keras", tmp_path / "plan.json"
    result = spa_("prune", tmp_path / "dense.keras", "-o", smaller, "--rf", "2", "--plan", plan)
    assert result.code == 0, result.err
    assert f"wrote {smaller}" in result.out
    assert plan.is_file()
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    assert keras.predict(smaller, x).shape == (4, 4)
    assert smaller.stat().st_size < (tmp_path / "dense.keras").stat().st_size
