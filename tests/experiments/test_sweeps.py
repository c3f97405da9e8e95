"""Sweeps on this machine: several at a time, killed in the midst, launched twice at once."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from experiments.sweeps.survey import survey
from experiments.sweeps.sweep import _time_left

ROOT = Path(__file__).resolve().parents[2]
RUNS = (
    *("-m", "model=resnet8", "criterion=l1,random", "seed=0,1", "trainer=smoke"),
    *("trainer.train.epochs=3", "trainer.finetune.epochs=3", "hydra/launcher=local"),
    *("latency.repeats=2", "latency.warmup=1"),
)
ENDED = re.compile(r"RF [\d.]+: .*\((.*)\)")


def start(results: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *arguments, f"results_dir={results}"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(said: str) -> Counter[str]:
    """How often each run was brought to its end."""
    return Counter(ENDED.findall(said))


def states(results: Path) -> list[str]:
    return [state.state for state in survey(results, "adhoc")]


@pytest.mark.slow
def test_a_killed_sweep_is_finished_by_launching_it_again(tmp_path):
    process = start(tmp_path, *RUNS)
    began = time.monotonic()
    while states(tmp_path).count("done") < 1:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() - began < 300
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = states(tmp_path).count("done")
    assert 1 <= finished < 4
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/adhoc/*/*/result.json")}

    process = start(tmp_path, *RUNS)  # at once: the leases of killed processes hold nothing
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert f"{finished} of 4 runs are done already" in said
    assert set(ended(said).values()) == {1}
    assert len(ended(said)) == 4 - finished
    assert states(tmp_path) == ["done"] * 4
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_two_launches_at_once_never_take_the_same_run(tmp_path):
    both = [start(tmp_path, *RUNS) for _ in range(2)]
    said = "".join(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    assert states(tmp_path) == ["done"] * 4
    assert sorted(ended(said).values()) == [1] * 4, said
    # The four share two dense networks, trained once each.
    assert said.count("dense baseline trained") == 2


@pytest.mark.slow
def test_the_command_for_a_failed_run_runs_that_run_alone(tmp_path):
    process = start(
        tmp_path,
        *("experiment=demo", "model=resnet8", "trainer=smoke", "time=train_prune"),
        *("criterion=l1", "method=spa", "exclude=[no_such_name]"),
    )
    said = process.communicate()[1]
    assert process.returncode == 1, said
    (failed,) = survey(tmp_path, "demo")
    assert failed.state == "failed"
    assert '"no_such_name" matches no parameter' in failed.what
    words = ["-m", "experiments.run", *shlex.split(failed.command)[3:]]
    again = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 1
    assert "[run] resnet8 on digits, train_prune, l1, rf 2, seed 0" in again.stderr
    assert len(survey(tmp_path, "demo")) == 1


@pytest.mark.parametrize(
    ("seconds", "gone", "left", "text"),
    [
        *((10, 0, 5, ""), (10, 5, 0, "")),
        *((10, 5, 5, "; about 10 s left"), (600, 5, 5, "; about 10 min left")),
    ],
)
def test_time_left(seconds, gone, left, text):
    assert _time_left(seconds, gone, left) == text


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system; skipped where only root may."""
    places = []

    def mount(options: str) -> Path:
        place = tmp_path / f"mounted{len(places)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            if os.geteuid() == 0 or os.environ.get("CI"):
                pytest.fail(f"cannot mount: {done.stderr}")
            pytest.skip("only root can mount the file systems of this test")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line(mounted):
    results = mounted("size=128k")
    process = start(results, "model=resnet8", "trainer=smoke", "trainer.train.epochs=1")
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "Traceback" not in said
    assert re.search(r"error: cannot write \S+: No space left on device", said), said
    assert not [path for path in results.rglob("*") if path.name.endswith(".onnx")]


@pytest.mark.slow
def test_a_read_only_results_folder_is_one_line(mounted):
    results = mounted("ro")
    for arguments in (["seed=0"], ["-m", "seed=0,1"]):
        process = start(results, *arguments, "model=resnet8", "trainer=smoke")
        said = process.communicate()[1]
        assert process.returncode == 1, said
        assert "Traceback" not in said
        assert re.search(r"error: cannot write (in )?\S+: Read-only file system", said), said


def test_the_manifest_is_json_lines(tmp_path):
    process = start(tmp_path, "-m", "seed=0,-1", "hydra/launcher=manifest")
    said = process.communicate()[1]
    assert process.returncode == 0, said
    lines = (tmp_path / "runs/adhoc/manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, -1]
    assert len(list(tmp_path.glob("runs/adhoc/tasks-*.jsonl"))) == 1
    assert states(tmp_path) == ["waiting"] * 2
