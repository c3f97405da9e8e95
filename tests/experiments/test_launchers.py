"""What the launchers make of a SLURM that starts nothing, of old results, of jobs that are lost.

The SLURM here is a stand-in: commands that take every job and leave it in the queue, or do not.
Sweeps on a real one are in `test_slurm`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.spa_harness import slurm_launcher
from hydra_plugins.spa_harness.slurm_launcher import Since, Waiting, launch_folder

from experiments.sweeps import queue
from experiments.sweeps.queue import Queue
from experiments.sweeps.survey import RunState
from experiments.sweeps.sweep import _ended_since, missed

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = """#!{python}
import sys
from pathlib import Path
name = Path(sys.argv[0]).name
if name == "sbatch":
    {sbatch}
elif name == "squeue":
    print("1_0 PENDING {reason}\\n1_1 PENDING {reason}")
elif name == "scancel":
    with Path(__file__).with_name("cancelled").open("a") as file:
        file.write(sys.argv[-1] + "\\n")
"""
TAKES = 'print("Submitted batch job 1")'
REFUSES = 'sys.exit("sbatch: error: invalid partition specified: cpu")'


def cluster(place: Path, reason: str, sbatch: str = TAKES) -> dict[str, str]:
    """Writes the commands of such a SLURM; returns the environment that has them."""
    place.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel"):
        text = COMMANDS.format(python=sys.executable, reason=reason, sbatch=sbatch)
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    return {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}


def sweep(results: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    words = ("-m", "hydra/launcher=slurm_cpu", "seed=0,1", "trainer=smoke")
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *words, f"results_dir={results}"],
        cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_jobs_that_can_never_start_are_named_and_given_up(tmp_path):
    process = sweep(tmp_path / "results", cluster(tmp_path / "bin", "PartitionConfig"))
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 1, said
    assert "2 jobs can never start: SLURM's reason is PartitionConfig" in said
    assert "partition=cpu, cpus_per_task=2" in said
    assert "error: 2 of 2 runs did not begin" in said
    assert (tmp_path / "bin/cancelled").read_text().split() == ["1_0", "1_1"]


@pytest.mark.slow
def test_what_slurm_does_not_take_is_one_line_and_not_done(tmp_path):
    environment = cluster(tmp_path / "bin", "None", REFUSES)
    process = sweep(tmp_path / "results", environment)
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 1, said
    assert "SLURM does not take the jobs: sbatch: error: invalid partition specified" in said
    assert "error: 2 of 2 runs did not begin" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        *((name, True) for name in ("PartitionConfig", "PartitionTimeLimit", "BadConstraints")),
        *((name, True) for name in ("QOSMaxCpuPerJobLimit", "AssocMaxWallDurationPerJobLimit")),
        *((name, True) for name in ("InvalidAccount", "QOSMaxMemoryPerNode", "QOSMinGRES")),
        *((name, False) for name in ("Resources", "Priority", "JobArrayTaskLimit", "BeginTime")),
        *((name, False) for name in ("QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "NodeDown")),
        *((name, False) for name in ("JobHeldUser", "ReqNodeNotAvail, UnavailableNodes:a", "")),
    ],
)
def test_only_what_cannot_pass_is_never(reason, never):
    assert bool(Queue({"1_0": reason}).stuck(["1_0", "1_1"])) == never


def test_the_queue_is_read_with_its_reasons(tmp_path, monkeypatch):
    environment = cluster(tmp_path / "bin", "(Resources, and more)")
    monkeypatch.setenv("PATH", environment["PATH"])
    found = queue.look()
    assert found.waiting(["1_0", "1_1", "2"]) == "2 (Resources, and more)"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "squeue" in queue.look().silence


class Job:
    """A job of submitit's, with a result file or without."""

    def __init__(self, name: str, place: Path) -> None:
        self.job_id, self.paths, self.cancelled = name, self, False
        self.result_pickle, self.stderr = place / f"{name}.pkl", place / f"{name}.err"

    def results(self) -> list[JobReturn]:
        kind, what = cloudpickle.loads(self.result_pickle.read_bytes())
        if kind != "success":
            raise RuntimeError(f"trace\n{what}")
        return [what]

    def cancel(self, check: bool) -> None:
        self.cancelled = True


@pytest.fixture
def now(monkeypatch):
    """A clock, and a queue, to set."""
    clock = {"time": 0.0, "queue": Queue({})}
    monkeypatch.setattr(time, "monotonic", lambda: clock["time"])
    monkeypatch.setattr(queue, "look", lambda: clock["queue"])
    return clock


def test_every_way_in_which_a_job_ends(tmp_path, now, capsys):
    jobs = [Job(name, tmp_path) for name in ("done", "broken", "lost", "stuck", "waits")]
    fine = JobReturn(status=JobStatus.COMPLETED)
    jobs[0].result_pickle.write_bytes(cloudpickle.dumps(("success", fine)))
    jobs[1].result_pickle.write_bytes(cloudpickle.dumps(("error", "ValueError: no")))
    now["queue"] = Queue({"stuck": "BadConstraints", "waits": "Priority"})
    waiting = Waiting(jobs, {"partition": "cpu"})
    for now["time"] in (0, 10):
        waiting.look()
        assert set(waiting.returned) == {"done", "broken"}  # the others are waited for a little
    for now["time"] in (20, 30, 10_000):
        waiting.look()
    assert set(waiting.open) == {"waits"}
    states = {name: each.status for name, each in waiting.returned.items()}
    assert states.pop("done") == JobStatus.COMPLETED
    assert set(states.values()) == {JobStatus.FAILED}
    assert [job.job_id for job in jobs if job.cancelled] == ["stuck"]
    said = capsys.readouterr().err
    assert "job broken: ValueError: no" in said
    assert "job lost: it ended without a word" in said
    assert "job stuck: given up, as it can never start: BadConstraints" in said


def test_a_cluster_that_is_gone_is_not_waited_for_for_ever(tmp_path, now, capsys):
    waiting = Waiting([Job("1_0", tmp_path)], {})
    now["queue"] = Queue({}, "Unable to contact slurm controller")
    for now["time"] in (0, slurm_launcher.SILENCE - 1):
        waiting.look()
        assert waiting.open
    now["time"] = slurm_launcher.SILENCE + 1
    waiting.look()
    assert waiting.returned["1_0"].status == JobStatus.FAILED
    said = capsys.readouterr().err
    assert said.count("SLURM does not answer: Unable to contact") == 1


def test_every_launch_has_a_folder_of_its_own():
    """SLURM's numbers come again; what an older job left lies elsewhere."""
    folders = {launch_folder("results/slurm") for _ in range(50)}
    assert len(folders) == 50
    assert {folder.name for folder in folders} == {"%j"}


def test_how_long_something_holds(now):
    since = Since(10)
    assert not since.over("a")
    now["time"] = 11
    assert since.over("a")
    assert not since.over("a", holds=False)
    assert not since.over("a")


def state(name: str, seed: int = 0, updated: str = "") -> RunState:
    return RunState("e", "a", seed, name, "", "", updated=updated)


@pytest.mark.parametrize(
    ("states", "lost", "said"),
    [
        (["done", "done", "running"], 0, ""),  # another launch is at it
        (["done", "waiting", "waiting"], 0, "2 of 3 runs did not begin"),
        (["failed", "torn", "done"], 0, "2 of 3 runs failed"),
        (["failed", "interrupted", "waiting"], 1,
         "1 of 3 runs failed, 1 of 3 runs were interrupted, 1 of 3 runs did not begin"),
        (["done", "done", "done"], 2, "2 jobs ended without a word"),  # force=true
    ],
)  # fmt: skip
def test_a_sweep_ends_well_only_where_all_is_done(states, lost, said):
    assert missed([state(name) for name in states], 0, lost, 3) == said


def test_only_what_ended_in_this_launch_took_time():
    before = {("a", 0): "1", ("a", 1): "1"}
    ended = [
        _ended_since(state(name, seed, updated), before)
        for name, seed, updated in (
            *(("done", 0, "1"), ("failed", 1, "1"), ("failed", 1, "2")),
            *(("done", 2, "2"), ("running", 3, "2")),
        )
    ]
    assert ended == [False, False, True, True, False]


def test_the_local_cluster_counts_the_cores_of_the_machine():
    """nproc says what OMP_NUM_THREADS says."""
    script = [str(ROOT / "slurm/local-cluster.sh"), "configuration"]
    environment = {**os.environ, "OMP_NUM_THREADS": "7777", "OMP_THREAD_LIMIT": "7777"}
    said = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    assert f" CPUs={len(os.sched_getaffinity(0))} " in said.stdout
