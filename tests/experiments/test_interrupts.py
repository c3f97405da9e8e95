"""Signals that come at awkward times neither get lost nor leave a run half recorded."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress

import pytest
import torch

from experiments import run
from experiments.data import load
from experiments.ground.progress import Progress
from experiments.runs import execute as stages
from experiments.runs.folder import RunFolder
from experiments.training.budget import Budget
from experiments.training.checkpoints import Checkpoint
from experiments.training.interrupts import Interrupted
from experiments.training.loop import fit
from spa.training.team import Stopped

BUDGET = Budget(epochs=2, batch=600)  # of three steps


def tell(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs the command in this process, with stages that do as given; exit code and state."""

    def call(execute: object) -> tuple[int, str]:
        monkeypatch.setattr(stages, "execute", execute)
        monkeypatch.setattr(sys, "argv", ["experiments.run", f"results_dir={tmp_path}"])
        code = 0
        try:
            run.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        (status,) = tmp_path.glob("runs/*/*/*/status.json")
        return code, json.loads(status.read_text())["state"]

    return call


def test_a_run_that_is_told_twice_ends_once(command, monkeypatch):
    interrupt = RunFolder.interrupt

    def told_again(self):
        tell()
        interrupt(self)

    monkeypatch.setattr(RunFolder, "interrupt", told_again)
    assert command(lambda *_: tell()) == (128 + signal.SIGTERM, "interrupted")


def test_a_signal_that_something_swallowed_ends_the_command_after_the_run(command, made_result):
    def execute(settings, *_):
        with suppress(Interrupted):  # as in a destructor, whose exceptions Python drops
            tell()
        return made_result(run_id=settings.run_id, seed=settings.seed)

    assert command(execute) == (128 + signal.SIGTERM, "done")


def train(checkpoint: Checkpoint) -> tuple[torch.nn.Module, list[dict[str, object]]]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    rows: list[dict[str, object]] = []
    data = load({"name": "digits"})
    cpu = torch.device("cpu")
    fit(net, data, BUDGET, seed=0, stream="dense", device=cpu, report=rows.append,
        keeper=checkpoint)  # fmt: skip
    return net, rows


def test_a_training_that_is_asked_to_end_in_its_last_step_keeps_its_state(tmp_path):
    asked = 0

    def stops() -> bool:
        nonlocal asked
        asked += 1
        return asked == last

    def checkpoint(name: str) -> Checkpoint:
        return Checkpoint(tmp_path / name, "", every=1e9, stops=stops, progress=Progress("test"))

    last = 0
    whole, rows = train(checkpoint("never"))
    asked, last = 0, asked
    assert last == 6  # after every step
    with pytest.raises(Stopped):
        train(checkpoint("asked"))
    asked = 0
    net, again = train(checkpoint("asked"))
    assert asked == 0  # there was no step left
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]
    assert all(map(torch.equal, net.state_dict().values(), whole.state_dict().values()))
