"""How runs stand, and what the command says of it."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace

import pytest

from experiments import status
from experiments.ground import paths
from experiments.runs import lease
from experiments.runs.folder import RunFolder
from experiments.sweeps import manifest
from experiments.sweeps.manifest import Entry
from experiments.sweeps.survey import STATES, RunState, survey, time_left
from experiments.sweeps.sweep import Planned


@pytest.fixture
def states(parsed, made_result, tmp_path):
    """One run in every state; their folders by state."""
    runs = {}
    for seed, name in enumerate(STATES):
        settings = parsed(f"results_dir={tmp_path}", f"seed={seed}")
        folder = runs[name] = RunFolder(settings)
        overrides = (f"results_dir={tmp_path}", f"seed={seed}")
        manifest.add(tmp_path, "adhoc", [Planned(list(overrides), settings).entry])
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
    first = "1 done, 1 running, 1 failed, 1 interrupted, 1 torn, 1 waiting; about "
    assert text.splitlines()[0].startswith(first)
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


def test_every_run_has_what_people_know_it_by(states, tmp_path, capsys):
    """Also one that waits, and has written nothing itself."""
    assert status.main(["adhoc", "--results", str(tmp_path)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if " seed " in line]
    assert len(said) == len(STATES)
    found = {line.split()[0]: line for line in said}
    assert all("resnet8, spa l1, rf 2.0" in line for line in found.values())
    assert "s left" in found["running"]


def test_what_finished_before_makes_nothing_faster():
    """90 of 100 were done before a relaunch: the ten left take as long as each of those took."""
    made = {"experiment": "e", "what": "", "command": "", "model": "m"}
    done = [RunState(**made, run_id="d", seed=i, state="done", seconds=60.0) for i in range(90)]
    running = [RunState(**made, run_id="r", seed=i, state="running", left=30.0) for i in range(2)]
    waiting = [RunState(**made, run_id="w", seed=i, state="waiting") for i in range(8)]
    assert time_left([*done, *running, *waiting]) == (2 * 30 + 8 * 60) / 2
    assert time_left([*done, *waiting]) is None  # nobody works on them
    assert time_left([*running[:1], replace(running[0], left=None), *waiting]) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"run_id": "a", "seed"',
        "[]",
        "5",
        '{"run_id": 1, "seed": 0}',
        '{"run_id": "a"}',
        "[" * 9999,
    ],
)
def test_a_damaged_line_of_a_manifest_is_named_and_passed_over(tmp_path, capsys, text):
    path = paths.runs(tmp_path, "demo") / "manifest.jsonl"
    whole = Entry("b", 1, ("seed=1",))
    manifest.add(tmp_path, "demo", [whole])
    path.write_text(path.read_text() + text + "\n")
    assert status.main(["--results", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"warning: passed over: line 2 of {path} is torn or was edited")
    assert told.err.count("\n") == 1
    assert told.out.startswith("1 waiting")
    manifest.add(tmp_path, "demo", [Entry("c", 1, ())])  # as a launch does
    assert [entry.run_id for entry in manifest.read(path)] == ["b", "c"]


@pytest.mark.parametrize("name", ["manifest.jsonl", "status.json", "result.json", "lease.json"])
def test_a_folder_in_a_files_place_stops_nothing(states, made_result, tmp_path, name, capsys):
    run = states["done"]
    place = run.path.parents[1] if name.startswith("manifest") else run.path
    (place / name).unlink(missing_ok=True)
    (place / name / "inside").mkdir(parents=True)
    assert status.main(["--results", str(tmp_path)]) == 0
    assert name.startswith(("manifest", "lease")) or "torn" in capsys.readouterr().out
    manifest.add(tmp_path, "adhoc", [Entry(run.settings.run_id, run.settings.seed, ())])
    with lease.hold(run.path):
        run.start({}, [])
        run.finish(made_result(run_id=run.settings.run_id, seed=run.settings.seed))
    assert run.done()
    assert list(place.glob(f"{name}.aside-1/inside"))


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "5", "{", "[" * 99999, '{"state": 5}', '{"state": ["done"]}'),
        *('{"state": "running"}', '{"state": "bogus"}', '{"state": NaN}', '{"state": 1e999}'),
    ],
)
def test_a_damaged_status_is_torn_and_named(states, tmp_path, content):
    path = states["done"].path / "status.json"
    path.write_text(content)
    found = next(s for s in survey(tmp_path, "adhoc") if s.seed == states["done"].settings.seed)
    assert found.state == "torn"
    assert found.what.startswith(f"{path} is torn or was edited")
    assert not states["done"].done()


def test_a_finished_run_whose_files_are_damaged_is_not_done(states, made_result, tmp_path):
    run = states["done"]
    (run.path / "pruned.onnx").write_bytes(b"a network")
    run.finish(made_result(run_id=run.settings.run_id, seed=run.settings.seed))
    assert run.done()
    os.utime(run.path / "pruned.onnx", (0, 0))  # copied, with other times
    assert run.done()
    for damage in (
        lambda path: path.write_bytes(b"a netw0rk"),
        lambda path: path.write_bytes(b"a net"),
        lambda path: path.unlink(),
        lambda path: path.mkdir(),
    ):
        damage(run.path / "pruned.onnx")
        assert not run.done()
        assert str(run.path / "pruned.onnx") in str(run.torn())
        (torn,) = (s for s in survey(tmp_path, "adhoc") if s.key == (run.settings.run_id, 0))
        assert torn.state == "torn"


def test_what_a_status_says_cannot_command_a_terminal(states, tmp_path, capsys):
    path = states["failed"].path / "status.json"
    content = {**json.loads(path.read_text()), "error": "\x1b[2Jgone\nmore \ud800"}
    path.write_text(json.dumps(content))
    assert status.main(["--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\\x1b[2Jgone\\nmore \\ud800" in text


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
