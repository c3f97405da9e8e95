"""How runs stand, and what the command says of it."""

from __future__ import annotations

import json
import shlex

import pytest

from experiments import status
from experiments.ground import paths
from experiments.runs import lease
from experiments.runs.folder import RunFolder
from experiments.sweeps import manifest
from experiments.sweeps.manifest import Entry
from experiments.sweeps.survey import STATES, survey


@pytest.fixture
def states(parsed, made_result, tmp_path):
    """One run in every state; their folders by state."""
    runs = {}
    for seed, name in enumerate(STATES):
        settings = parsed(f"results_dir={tmp_path}", f"seed={seed}")
        folder = runs[name] = RunFolder(settings)
        overrides = (f"results_dir={tmp_path}", f"seed={seed}")
        manifest.add(tmp_path, "adhoc", [Entry(settings.run_id, seed, overrides)])
        if name != "waiting":
            folder.start({}, [])
        if name in ("done", "torn"):
            folder.finish(made_result(run_id=settings.run_id, seed=seed))
        if name == "failed":
            folder.fail(RuntimeError("on purpose"))
    path = runs["torn"].path / "result.json"
    path.write_text(path.read_text().replace('"acc": 0.5', '"acc": 0.9'))
    with lease.hold(runs["running"].path):
        yield runs


def test_every_state_is_told(states, tmp_path):
    found = {run.state: run for run in survey(tmp_path, "adhoc")}
    assert set(found) == set(STATES)
    assert {name: run.seed for name, run in found.items()} == {
        name: folder.settings.seed for name, folder in states.items()
    }
    assert found["failed"].what == "RuntimeError: on purpose"
    assert found["running"].what.startswith("process ")
    assert "was edited: its content does not give its checksum" in found["torn"].what
    assert str(states["torn"].path / "result.json") in found["torn"].what


def test_the_command_lists_them_and_how_to_run_the_failed_again(states, tmp_path, capsys):
    assert status.main(["adhoc", "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    first = "1 done, 1 running, 1 failed, 1 interrupted, 1 torn, 1 waiting"
    assert text.splitlines()[0] == first
    commands = [line.strip() for line in text.splitlines() if line.startswith("    python ")]
    seeds = sorted(states[name].settings.seed for name in ("failed", "torn"))
    assert commands == [
        f"python -m experiments.run hydra.mode=RUN results_dir={tmp_path} seed={seed}"
        for seed in seeds
    ]


def test_json(states, tmp_path, capsys):
    assert status.main(["--results", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == dict.fromkeys(STATES, 1)
    assert {run["state"] for run in document["runs"]} == set(STATES)


def test_an_unknown_experiment_is_one_line(tmp_path, capsys):
    paths.runs(tmp_path, "demo").mkdir(parents=True)
    assert status.main(["dmo", "--results", str(tmp_path)]) == 1
    assert "no experiment 'dmo'" in capsys.readouterr().err
    assert status.main(["--results", str(tmp_path / "nowhere")]) == 0
    assert capsys.readouterr().out == "no runs\n"


def test_a_torn_manifest_is_named(tmp_path, capsys):
    path = paths.runs(tmp_path, "demo") / "manifest.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"run_id": "a", "seed"')
    assert status.main(["--results", str(tmp_path)]) == 1
    assert f"{path} is torn or was edited" in capsys.readouterr().err


def test_a_manifest_keeps_what_is_there_and_takes_a_run_once(tmp_path):
    one, two = Entry("a", 0, ("seed=0",)), Entry("a", 1, ("seed=1",))
    manifest.add(tmp_path, "made", [one])
    path = manifest.add(tmp_path, "made", [two, one])
    assert manifest.read(path) == [one, two]
    assert manifest.write_tasks(tmp_path, "made", [two]) == manifest.write_tasks(
        tmp_path, "made", [two]
    )


def test_a_command_quotes_what_a_shell_would_take_apart():
    entry = Entry("a", 0, ("exclude=[head*]", "model=onnx/my file.onnx"))
    assert shlex.split(entry.command)[-2:] == ["exclude=[head*]", "model=onnx/my file.onnx"]


@pytest.mark.parametrize("line", [-1, 1])
def test_a_line_that_is_not_there(tmp_path, capsys, line):
    path = manifest.write_tasks(tmp_path, "made", [Entry("a", 0, ("seed=0",))])
    assert manifest.main(["run", str(path), "--", str(line)]) == 1
    assert f"there is no line {line}" in capsys.readouterr().err
