"""Work in bounded memory: parts give what all at once gives, and little is held."""

import resource
import subprocess
import sys

import numpy as np
import onnx
import pytest

import spa
import spa.obspa
from spa.graph.execute import run
from spa.graph.read import model_sha256
from spa.observe import memory
from spa.observe.store import Store
from spa.obspa import calibration
from spa.obspa.calibration import calibrate
from spa.obspa.settings import Settings
from tests.graphs import Builder, classifier

IMAGES = np.random.default_rng(3).standard_normal((40, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    "how",
    [
        {}, {"columns": 300}, {"damping": "held-out"}, {"damping": "oas"}, {"intercept": False},
        {"target_outputs": "own", "selection": "obs"}, {"batch_norms": "refresh"},
    ],
    ids=str,
)  # fmt: skip
def test_in_parts_and_in_files_as_at_once(monkeypatch, how):
    outputs, bytes_ = [], []
    for size, budget in ((64, 2**30), (7, 1), (7, 2**30)):
        monkeypatch.setattr(calibration, "batch_size", lambda model, budget, size=size: size)
        monkeypatch.setattr(calibration, "budget_of", lambda asked, budget=budget: budget)
        result = spa.obspa.prune(classifier(), ratio=0.3, calibration=IMAGES, **how)
        outputs.append(run(result.model, {"x": IMAGES})[0])
        bytes_.append(model_sha256(result.reconstructed))
    scale = np.abs(outputs[0]).max()
    # Rounding alone, in nodes that ONNX Runtime computes in other batches.
    assert np.abs(outputs[0] - outputs[1]).max() <= 3e-6 * scale
    # Where activations lie changes nothing.
    assert bytes_[1] == bytes_[2]


def test_a_store_keeps_what_fits_and_forgets_what_nobody_holds():
    store = Store(1000)
    first = store.put(np.arange(100, dtype=np.float64))  # 800 bytes
    second = store.put(np.arange(50, dtype=np.float32))  # 200 bytes
    third = store.put(np.arange(10, dtype=np.float16).reshape(2, 5).T)  # to a file
    assert np.array_equal(third.get(), np.arange(10).reshape(2, 5).T)
    assert third.get().dtype == np.float16
    path = third._path
    assert path.exists()
    del first, third
    assert not path.exists()
    assert store.put(np.arange(100, dtype=np.float64))._path is None
    assert np.array_equal(second.get(), np.arange(50))


def wide(layers=6, width=16, size=96):
    """Activations a thousand times as large as weights."""
    g = Builder(seed=0)
    x, channels = g.input(3, size, size), 3
    for _ in range(layers):
        x = g.node("Relu", [g.batch_norm(g.conv(x, channels, width, bias=False), width)])
        channels = width
    x = g.node("GlobalAveragePool", [x])
    return g.model(g.conv(x, width, 4, 1), dims=[["N", 4, 1, 1]])


PROGRAM = """
import resource, sys
import spa, spa.obspa, onnx
model = spa.load(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spa.obspa.prune(model, ratio=0.3, calibration=sys.argv[2], samples=int(sys.argv[3]), memory=0.25,
                verify=False)
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_samples(tmp_path):
    """Of 256 samples one tensor in each stream takes 300 MB, and three are alive at a time."""
    onnx.save(wide(), tmp_path / "wide.onnx")
    grown = {}
    for samples in (32, 256):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "wide.onnx", "noise", str(samples)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        before, after = map(int, done.stdout.split())
        grown[samples] = (after - before) / 1024  # MiB
    assert grown[256] < 0.25 * 1024 + 200  # and what ONNX Runtime and BLAS take besides
    assert grown[256] < grown[32] + 200


def test_inputs_are_made_in_parts_that_fit(monkeypatch):
    torch = pytest.importorskip("torch")
    from spa.obspa import synthesis

    monkeypatch.setattr(synthesis, "STEPS", 2)
    sizes = []
    moved = synthesis._moved

    def counted(net, batch, *rest):
        sizes.append(len(batch["x"]))
        return moved(net, batch, *rest)

    monkeypatch.setattr(synthesis, "_moved", counted)
    model = spa.load(wide())
    made = calibrate(model, "bn", Settings(samples=40, memory=0.125))
    _, every = memory.activation_bytes(model)
    assert sum(sizes) == made.samples == 40
    assert len(sizes) > 1
    assert max(sizes) * every <= 2**27
    assert torch.is_grad_enabled()


def test_too_little_memory_is_told_with_the_numbers(monkeypatch):
    monkeypatch.setattr(memory, "activation_bytes", lambda model: (1, 2**40))
    with pytest.raises(spa.SettingError, match=r"2048.0 GiB, and 1.0 GiB"):
        spa.obspa.prune(classifier(), rf=1.5, calibration="bn", memory=1.0)
    with pytest.raises(spa.SettingError, match="at least 0.125 GiB"):
        spa.obspa.prune(classifier(), rf=1.5, calibration="noise", memory=0.001)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="no such limit here")
def test_what_a_process_may_map_counts_as_what_is_free():
    code = (
        "import resource; from spa.observe.memory import free_bytes; before = free_bytes();"
        "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32)); print(before, free_bytes())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    before, after = map(int, done.stdout.split())
    assert 0 <= after <= min(before, 2**32)
    assert after < 2**32


# --- without a training framework ---------------------------------------------------------------

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "torch" else found(name, *a)
from spa.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_given_inputs_need_no_training_framework(tmp_path):
    onnx.save(classifier(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=IMAGES)
    command = [
        sys.executable, "-c", BLOCKED, "prune", str(tmp_path / "m.onnx"), "-o",
        str(tmp_path / "o.onnx"), "--rf", "1.5", "--method", "obspa", "--criterion", "obs",
    ]  # fmt: skip
    done = subprocess.run(
        [*command, "--calibration", str(tmp_path / "x.npz")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "40 samples of the given inputs" in done.stdout
    onnx.checker.check_model(onnx.load(tmp_path / "o.onnx"), full_check=True)
    # What does need one says so, in a line.
    done = subprocess.run([*command, "--calibration", "bn"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "torch" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
