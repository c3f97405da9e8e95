"""Processes that train together do what one would, and start, keep and end together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.training import rendezvous
from experiments.training.team import Processes

ROOT = Path(__file__).resolve().parents[2]
# Trains a network without batch norm, keeps its state in the middle, goes on; prints the weights.
PROGRAM = """
import json, sys
import numpy as np, torch
from experiments.training.checkpoints import Checkpoint
from experiments.data import load
from experiments.models.network import fresh
from experiments.training.team import processes
from experiments.ground.progress import Progress
from experiments.training.rendezvous import meeting
from experiments.training.budget import Budget
from experiments.training.loop import fit
from pathlib import Path
from spa.training.team import Stopped

where = meeting()
team = processes(where) if where else None
leads = team is None or team.leads
data = load({"name": "digits"})
budget = Budget(epochs=2, batch=60, lr=0.05, ema=0.9, distill=0.5)
teacher = fresh("resnet8", data, 0)[1]
stops = [False] * 9 + [True]  # after the tenth step

def train(keeper):
    torch.manual_seed(0 if leads else 1)  # the others get the first one's weights
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
    rows = []
    fit(net, data, budget, seed=0, stream="dense", device=torch.device("cpu"),
        report=rows.append, keeper=keeper, team=team, teacher=teacher)
    if team:  # averages are the same to the bit in all
        everywhere = team.same([w.detach() for w in net.parameters()])
        assert all(map(torch.equal, everywhere, net.parameters()))
    return net, rows

def keeper(stops):
    if not leads:
        return None
    asks = iter(stops)
    return Checkpoint(Path(sys.argv[1]), "it", every=1e9, stops=lambda: next(asks, False),
                      progress=Progress("test"))

try:
    train(keeper(stops))
    raise SystemExit("it was not stopped")
except Stopped:
    pass
net, rows = train(keeper([]))
if leads:
    weights = [w.detach().numpy().ravel().tolist() for w in net.parameters()]
    print(json.dumps({"weights": sum(weights, []), "rows": rows}))
"""


def crowd(processes: int, *arguments: str) -> list[tuple[int, str, str]]:
    """Runs Python in processes that meet; gives the exit status and the output of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        where = {
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"},
        }
        started.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **where},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(p.returncode, *texts) for p, texts in zip(started, said, strict=True)]


def trained(folder: Path, processes: int) -> dict[str, object]:
    folder.mkdir()
    ended = crowd(processes, "-c", PROGRAM, str(folder / "checkpoint.pt"))
    assert [status for status, _, _ in ended] == [0] * processes, ended
    assert "going on from epoch 1, step 11" in ended[0][2]
    return json.loads(ended[0][1])


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    one, two = trained(tmp_path / "one", 1), trained(tmp_path / "two", 2)
    np.testing.assert_allclose(one["weights"], two["weights"], atol=1e-5)
    for mine, other in zip(one["rows"], two["rows"], strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert mine["accuracy"] == pytest.approx(other["accuracy"], abs=1e-9)


# The first process cannot write what it is told of the first epoch; then all do something else.
FULL_DISK = """
import torch
from experiments.data import load
from experiments.training.team import processes
from experiments.training.rendezvous import meeting
from experiments.training.budget import Budget
from experiments.training.loop import fit
from spa.errors import OutputError
from spa.training.team import Stopped

team = processes(meeting())

def report(row):
    raise OutputError("the disk is full")

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
try:
    fit(net, load({"name": "digits"}), Budget(epochs=2, batch=600), seed=0, stream="dense",
        device=torch.device("cpu"), report=report, team=team)
except (OutputError, Stopped) as error:
    print(type(error).__name__, team.same("and on"))
"""


@pytest.mark.slow
def test_where_the_first_process_cannot_go_on_all_stop():
    (_, first, _), (_, second, _) = ended = crowd(2, "-c", FULL_DISK)
    assert (first, second) == ("OutputError and on\n", "Stopped and on\n"), ended


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_next_one_to_all_processes(tmp_path):
    small = ("model=resnet8", "trainer=smoke", "trainer.train.lr=1e30", f"results_dir={tmp_path}")
    first, second = crowd(2, "-m", "experiments.run", "-m", "seed=0,1", *small)
    assert (first[0], second[0]) == (1, 1), (first, second)
    failed = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/*/*/status.json")]
    assert [status["state"] for status in failed] == ["failed"] * 2
    assert all("The loss is nan" in status["error"] for status in failed)


@pytest.mark.parametrize(("samples", "size"), [(8, 2), (9, 2), (9, 4), (64, 3)])
def test_shares_make_the_mean_of_the_whole_batch(samples, size):
    x = np.arange(samples, dtype=np.float32)
    shares = [Processes(rank, size).share(samples) for rank in range(size)]
    # What DistributedDataParallel makes of it: the mean of the processes' weighted sums.
    mean = np.mean([x[part].sum() * weight for part, weight in shares])
    assert mean == pytest.approx(x.mean())
    assert sorted(np.concatenate([x[part] for part, _ in shares])) == list(range(samples))


def test_a_batch_that_is_too_small_goes_to_all():
    for rank in range(2):
        assert Processes(rank, 2).share(3) == (slice(None), 1 / 3)


@pytest.fixture
def alone(monkeypatch):
    for name in [*rendezvous.NAMES, *(n for n in os.environ if n.startswith("SLURM_"))]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_process_on_its_own_is_alone(alone):
    assert rendezvous.meeting() is None
    # A batch script with several tasks, before any srun: this process is not one of them.
    alone.setenv("SLURM_NTASKS", "4")
    alone.setenv("SLURM_PROCID", "0")
    assert rendezvous.meeting() is None


def test_torchrun_says_where_to_meet(alone):
    given = dict(zip(rendezvous.NAMES, ("1", "2", "1", "127.0.0.1", "29500"), strict=True))
    for name, value in given.items():
        alone.setenv(name, value)
    assert rendezvous.meeting() == given
    alone.setenv("WORLD_SIZE", "1")
    assert rendezvous.meeting() is None
