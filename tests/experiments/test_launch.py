"""Runs are recorded, skipped when done, and one failure does not stop a sweep."""

from __future__ import annotations

import json
import sys

import pytest

from experiments import loggers, run
from experiments.runs import execute as stages
from experiments.runs.folder import RunFolder


@pytest.fixture
def pretend(monkeypatch, made_result):
    """Replaces the stages: criterion l2 fails, everything else is done at once."""
    calls: list[str] = []

    def execute(settings, folder, progress, interrupts, team):
        calls.append(f"{settings.criterion} {settings.seed}")
        folder.log({"stage": "dense", "epoch": 1, "loss": 0.5})
        if settings.criterion == "l2":
            raise RuntimeError("on purpose")
        return made_result(run_id=settings.run_id, seed=settings.seed)

    monkeypatch.setattr(stages, "execute", execute)
    return calls


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs the command in this process; returns its exit code and what it wrote to stderr."""

    def call(*arguments: str) -> tuple[int, str]:
        line = ["experiments.run", *arguments, f"results_dir={tmp_path / 'results'}"]
        monkeypatch.setattr(sys, "argv", line)
        monkeypatch.chdir(tmp_path)
        code = 0
        try:
            run.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().err

    return call


def states(tmp_path) -> dict[str, str]:
    found = [json.loads(p.read_text()) for p in tmp_path.glob("results/runs/*/*/*/status.json")]
    return {f"{status['criterion']} {status['seed']}": status["state"] for status in found}


def test_one_run_is_recorded_and_then_skipped(pretend, command, tmp_path):
    code, said = command("criterion=l1", "seed=-5")
    assert (code, pretend) == (0, ["l1 -5"])
    assert "seed -5" in said
    code, said = command("criterion=l1", "seed=-5", "logger=csv")
    assert (code, pretend) == (0, ["l1 -5"])
    assert "done already" in said
    command("criterion=l1", "seed=-5", "force=true")
    assert pretend == ["l1 -5"] * 2
    (overrides,) = tmp_path.glob("results/runs/adhoc/*/seed_-5/overrides.yaml")
    assert "seed=-5" in overrides.read_text()


def test_nothing_is_written_outside_the_results(pretend, command, tmp_path):
    command("criterion=l1")
    command("-m", "criterion=l1,random")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["runs"]
    assert [path.name for path in (tmp_path / "results/runs").iterdir()] == ["adhoc"]


def test_a_failed_run_is_recorded_and_ends_with_code_1(pretend, command, tmp_path):
    code, said = command("criterion=l2")
    assert code == 1
    assert "error: RuntimeError: on purpose" in said
    assert "Traceback" not in said
    (path,) = tmp_path.glob("results/runs/adhoc/*/seed_0/status.json")
    status = json.loads(path.read_text())
    assert status["state"] == "failed"
    assert "RuntimeError: on purpose" in status["traceback"]


def test_a_failure_does_not_stop_a_sweep_and_only_the_rest_is_repeated(pretend, command, tmp_path):
    code, said = command("-m", "criterion=l1,l2,random", "seed=0,1")
    assert code == 1
    assert "error: 2 of 6 runs failed" in said
    assert "[6/6]" in said
    assert states(tmp_path) == {
        **{f"{c} {s}": "done" for c in ("l1", "random") for s in (0, 1)},
        **{f"l2 {s}": "failed" for s in (0, 1)},
    }
    pretend.clear()
    command("-m", "criterion=l1,l2,random", "seed=0,1")
    assert pretend == ["l2 0", "l2 1"]


def test_an_experiment_is_swept_without_m(pretend, command, tmp_path):
    code, said = command("experiment=demo", "trainer=smoke")
    assert (code, said.count("RF 2.01")) == (0, 18)
    assert [path.name for path in (tmp_path / "results/runs").iterdir()] == ["demo"]


def test_wrong_names_and_values_are_one_line(pretend, command, tmp_path):
    for arguments in (["criterion=l3"], ["target.rf=0"], ["-m", "seed=0,x"]):
        code, said = command(*arguments)
        assert code == 1
        assert "error: " in said
        assert "Traceback" not in said
    assert "seed is a whole number" in said


def test_a_read_only_results_folder_is_one_line(pretend, command, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/runs").mkdir()
    (tmp_path / "results/runs/adhoc").write_text("a file where a folder should be")
    code, said = command("criterion=l1")
    assert code == 1
    assert "error: cannot write" in said


def test_the_csv_logger_mirrors_the_metrics(pretend, command, tmp_path):
    command("criterion=l1", "logger=csv")
    (path,) = tmp_path.glob("results/runs/adhoc/*/seed_0/metrics.csv")
    assert path.read_text() == "stage,epoch,loss\ndense,1,0.5\n"


def test_a_logger_that_fails_does_not_fail_the_run(pretend, command, tmp_path, monkeypatch):
    def broken(*_):
        raise ConnectionError("no network")

    monkeypatch.setitem(loggers.LOGGERS, "csv", broken)
    code, said = command("criterion=l1", "logger=csv")
    assert code == 0
    assert "logger switched off: ConnectionError: no network" in said


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", None])
def test_wandb_without_a_key_or_network_is_offline(pretend, command, tmp_path, monkeypatch, mode):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no key of the developer's
    given = [] if mode is None else [f"logger.mode={mode}"]
    code, said = command("criterion=l1", "logger=wandb", *given)
    assert code == 0
    assert "switched off" not in said
    (folder,) = tmp_path.glob("results/runs/adhoc/*/seed_0")
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))


def test_a_run_that_another_one_finished_is_done(parsed, made_result, tmp_path):
    settings = parsed(f"results_dir={tmp_path}")
    RunFolder(settings).start({}, [])
    RunFolder(settings).finish(made_result())
    assert RunFolder(settings).done()
