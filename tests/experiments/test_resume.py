"""A run that is killed goes on where it was, and ends as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.ground import files
from experiments.ground.progress import Progress
from experiments.training.checkpoints import Checkpoint

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("model=resnet8", "trainer=smoke", "trainer.train.epochs=12", "trainer.finetune.epochs=12"),
    *("trainer.train.ema=0.9", "trainer.finetune.ema=0.9", "trainer.finetune.distill=0.5"),
    *("trainer.finetune.label_smoothing=0.1", "trainer.finetune.warmup=2"),
    *("checkpoint_seconds=0", "latency.repeats=2", "latency.warmup=1"),
)


def start(results: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts the command, in a session of its own so that all of it can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *arguments, f"results_dir={results}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() - began < 240
        time.sleep(0.01)


def run_folder(results: Path) -> Path:
    (folder,) = results.glob("runs/adhoc/*/seed_0")
    return folder


def status(results: Path) -> str:
    return json.loads((run_folder(results) / "status.json").read_text())["state"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The same run, never interrupted."""
    results = tmp_path_factory.mktemp("whole")
    process = start(results, *SMALL)
    assert process.wait() == 0, process.stderr.read()
    return results


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["dense/*", "runs/adhoc/*/seed_0"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGUSR1])
def test_an_interrupted_run_ends_with_the_same_weights(whole, tmp_path, stage, by):
    process = start(tmp_path, *SMALL)
    until(lambda: any(tmp_path.glob(f"{stage}/checkpoint.pt")), process)
    time.sleep(0.2)  # somewhere in an epoch
    os.killpg(process.pid, by)
    said = process.communicate()[1]
    assert status(tmp_path) == ("running" if by == signal.SIGKILL else "interrupted"), said
    assert ("asked to end" in said) == (by != signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in run_folder(tmp_path).glob("p*.json")}

    process = start(tmp_path, *SMALL)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert "going on from epoch" in said
    # What was done before is not done again.
    assert {path: path.stat().st_mtime_ns for path in before} == before

    mine, other = run_folder(tmp_path), run_folder(whole)
    for name in ("dense.onnx", "pruned.onnx", "finetuned.onnx"):
        assert files.sha256(mine / name) == files.sha256(other / name), name
    assert metrics(mine) == metrics(other)
    assert not list(tmp_path.glob("**/checkpoint.pt"))
    result = json.loads((mine / "result.json").read_text())
    assert result["seconds"]["total"] >= result["seconds"]["finetune"] > 0


def metrics(folder: Path) -> list[dict[str, object]]:
    """The lines of a run's metrics, less times."""
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("at", "seconds")} for line in lines]


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    return make(tmp_path, "a network")


def make(folder: Path, of: str) -> Checkpoint:
    where = folder / "checkpoint.pt"
    return Checkpoint(where, of, every=1e9, stops=lambda: False, progress=Progress("test"))


def state() -> dict[str, object]:
    return {"at": {"epoch": 3, "step": 1}, "net": {"w": torch.arange(3.0)}}


def test_a_state_comes_back(checkpoint, capsys):
    checkpoint.save(state())
    found = checkpoint.load()
    assert found["net"]["w"].tolist() == [0, 1, 2]
    assert "going on from epoch 4, step 2" in capsys.readouterr().err


def test_a_state_of_another_network_is_left_aside(checkpoint, tmp_path, capsys):
    checkpoint.save(state())
    assert make(tmp_path, "another").load() is None
    assert "is of another network or code: starting over" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04 torn"])
def test_a_torn_state_is_left_aside(checkpoint, capsys, content):
    checkpoint.path.write_bytes(content)
    assert checkpoint.load() is None
    assert "cannot be read" in capsys.readouterr().err


def test_a_state_that_would_run_code_is_not_read(checkpoint, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "evil",))

    torch.save({"of": "a network", "state": Evil()}, checkpoint.path)
    assert checkpoint.load() is None
    assert not (tmp_path / "evil").exists()


def test_when_a_state_is_due(tmp_path):
    where = tmp_path / "checkpoint.pt"
    often = Checkpoint(where, "", every=0, stops=lambda: True, progress=Progress("test"))
    assert often.due()
    assert often.stops()
    assert not make(tmp_path, "").due()
