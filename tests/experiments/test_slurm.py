"""Sweeps on a real SLURM. `slurm/local-cluster.sh start` runs one of one node on this machine.

Where there is none these tests are skipped, and the summary says so; with SPA_SLURM=required (as in
.ci/run) that is an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import tables
from experiments.results import records
from experiments.sweeps.survey import survey

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("trainer=smoke", "trainer.train.epochs=12", "trainer.finetune.epochs=3"),
    *("latency.repeats=2", "latency.warmup=1", "checkpoint_seconds=0"),
)
ON_SLURM = ("hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1")

pytestmark = [pytest.mark.slow, pytest.mark.slurm]


def command(results: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "experiments.run", *arguments, f"results_dir={results}"]


def start(results: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(results, *arguments), cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def slurm(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def until(condition: Callable[[], object], seconds: float = 300) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, slurm("squeue", "--me")
        time.sleep(0.1)


def start_again(job: str) -> None:
    """Starts a job soon that was sent back to the queue; SLURM itself would wait two minutes.

    Not at once: slurmd counts in whole seconds what it was told to kill, and takes a start in the
    same second for what it has to refuse ("Job credential revoked").
    """
    until(lambda: f"{job} PENDING" in slurm("squeue", "--me", "-h", "-r", "-o", "%i %T"))
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+3")


def states(results: Path) -> dict[str, str]:
    return {f"{s.run_id} {s.seed}": s.state for s in survey(results, "adhoc")}


def ended(results: Path) -> Counter[str]:
    """How often a run was brought to its end, by what all jobs said."""
    said = [path.read_text() for path in results.glob("slurm/*/*/*_log.err")]
    lines = (line for text in said for line in text.splitlines() if "] RF " in line)
    return Counter(line.rpartition("(")[2] for line in lines)


def test_a_sweep_with_a_failure_and_a_requeued_job(tmp_path):
    """Six runs: those of one model fail on purpose, one is sent back to the queue half-way."""
    models = "model=resnet8,vgg_small,torchvision/no_such_network"
    process = start(tmp_path, "-m", *ON_SLURM, models, "criterion=l1,random", *SMALL)
    # The first job that keeps a state of its training is sent back.
    until(lambda: any(tmp_path.glob("dense/*/checkpoint.pt")))
    (kept, *_) = tmp_path.glob("dense/*/checkpoint.pt")
    pid = json.loads((kept.parent / "lease.json").read_text())["pid"]
    environment = Path(f"/proc/{pid}/environ").read_text()
    held = dict(line.partition("=")[::2] for line in environment.split("\0"))
    job = f"{held['SLURM_ARRAY_JOB_ID']}_{held['SLURM_ARRAY_TASK_ID']}"
    slurm("scontrol", "requeue", job)
    start_again(job)

    said = process.communicate(timeout=600)[0]
    assert process.returncode == 1, said
    assert "error: 2 of 6 runs failed" in said
    found = Counter(states(tmp_path).values())
    assert found == {"done": 4, "failed": 2}, said
    assert ended(tmp_path).total() == 4  # nothing ran twice
    assert set(ended(tmp_path).values()) == {1}
    # Whoever had the dense network next (the other run that shares it, perhaps) went on with it.
    assert "going on from epoch" in "".join(p.read_text() for p in tmp_path.glob("slurm/*/*/*.err"))

    text = tables.write(tmp_path, tmp_path / "runs", "adhoc")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len([row for row in rows if "no_such_network" in row and "0 of 1" in row]) == 2
    complete = [row for row in rows if "no_such_network" not in row and "---" not in row]
    assert len(complete) == 4
    assert not any("—" in row.split("|")[5:9] for row in complete)
    failed = [state for state in survey(tmp_path, "adhoc") if state.state == "failed"]
    assert all("no_such_network" in state.what for state in failed)


def test_tasks_of_one_job_train_together(tmp_path):
    process = start(
        tmp_path, "-m", *ON_SLURM, "hydra.launcher.tasks_per_node=2", "model=resnet8", *SMALL
    )
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    (result,) = records.read_results(tmp_path / "runs", "adhoc")
    assert result["training"]["dense"]["processes"] == 2
    assert result["training"]["finetune"]["processes"] == 2
    assert ended(tmp_path).total() == 1  # the second task only trained


def test_a_job_array_over_a_manifest_is_told_to_end_and_goes_on(tmp_path):
    """The same run ids as any other launch; SIGUSR1 keeps the state and requeues the job."""
    more = ("criterion=l1,random", "model=resnet8", *SMALL)
    process = start(tmp_path, "-m", "hydra/launcher=manifest", *more)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    (line,) = (line for line in said.splitlines() if line.startswith("sbatch "))
    _, array, script, tasks = line.split()
    log = tmp_path / "job-%a.log"
    words = ["sbatch", "--parsable", f"--output={log}", "--cpus-per-task=1", array, script, tasks]
    environment = {**os.environ, "SPA_PYTHON": sys.executable}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()

    until(lambda: any(tmp_path.glob("dense/*/checkpoint.pt")))
    (kept,) = tmp_path.glob("dense/*/checkpoint.pt")
    who = json.loads((kept.parent / "lease.json").read_text())["pid"]
    environment = Path(f"/proc/{who}/environ").read_text().split("\0")
    task = next(x.partition("=")[2] for x in environment if x.startswith("SLURM_ARRAY_TASK_ID="))
    slurm("scancel", "--signal=USR1", f"{job}_{task}")
    until(lambda: "asked to end" in (tmp_path / f"job-{task}.log").read_text())
    start_again(f"{job}_{task}")
    until(lambda: job not in slurm("squeue", "--me", "-h", "-r", "-o", "%i"))
    assert Counter(states(tmp_path).values()) == {"done": 2}
    logs = "".join((tmp_path / f"job-{i}.log").read_text() for i in (0, 1))
    assert "going on from epoch" in logs
    assert logs.count("] RF ") == 2

    process = start(tmp_path, "-m", *more)  # any other launch finds them done
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert "2 of 2 runs are done already" in said
