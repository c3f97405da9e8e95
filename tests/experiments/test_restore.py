"""Records that were committed become finished runs again, if they are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import records as command
from experiments.config.settings import digest
from experiments.ground import files, paths
from experiments.results.records import collect, read_result, write_result
from experiments.results.restore import restore
from experiments.runs.folder import RunFolder
from experiments.sweeps.survey import survey
from spa.errors import SettingError


@pytest.fixture
def recorded(parsed, made_result, tmp_path):
    """Settings of two runs, and their records as if collected elsewhere."""
    runs = [parsed(f"seed={seed}", f"results_dir={tmp_path}") for seed in (0, -1)]
    for settings in runs:
        what = {"run_id": settings.run_id, "seed": settings.seed, "experiment": "adhoc"}
        result = made_result(**what, config=settings.semantic())
        name = f"{settings.run_id}_seed_{settings.seed}.json"
        write_result(paths.records(tmp_path, "adhoc") / name, result)
    return runs


def test_a_sweep_goes_on_from_records(recorded, tmp_path, capsys):
    assert not any(RunFolder(settings).done() for settings in recorded)
    assert command.main(["restore", "adhoc", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "2 runs put back\n"
    assert all(RunFolder(settings).done() for settings in recorded)
    assert [state.state for state in survey(tmp_path, "adhoc")] == ["done", "done"]
    before = {path: path.read_bytes() for path in (tmp_path / "records/adhoc").iterdir()}
    assert {path: path.read_bytes() for path in collect(tmp_path, "adhoc")} == before


def test_runs_that_are_done_stay_as_they_are(recorded, made_result, tmp_path):
    mine = RunFolder(recorded[0])
    result = made_result(run_id=recorded[0].run_id, prune_seconds=9.0)
    write_result(mine.path / "result.json", result)
    found = restore(tmp_path, "adhoc")
    assert (len(found.made), found.there) == (1, 1)
    assert read_result(mine.path / "result.json")["prune_seconds"] == 9.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 5}, "seed 5, of the experiment adhoc; it belongs in records/adhoc/"),
        ({"experiment": "other"}, "of the experiment other; it belongs in records/other/"),
        ({"config": {"version": 2}}, "but its configuration gives"),
        ({"config": {}}, "does not say what its run_id is a hash of"),
    ],
)
def test_a_record_of_another_run_is_named_and_passed_over(
    recorded, tmp_path, capsys, changes, said
):
    path = sorted((tmp_path / "records/adhoc").iterdir())[-1]
    write_result(path, {**read_result(path), **changes})
    assert len(restore(tmp_path, "adhoc").made) == 1
    told = capsys.readouterr().err
    assert told.startswith("warning: passed over: ")
    assert said in told
    assert not list(tmp_path.glob("runs/*/*/seed_5"))


def test_where_every_record_was_edited_nothing_is_put_back(recorded, tmp_path, capsys):
    for path in (tmp_path / "records/adhoc").iterdir():
        files.write_json(path, {**json.loads(path.read_text()), "prune_seconds": 0.1})
    with pytest.raises(SettingError, match="none of the 2 records"):
        restore(tmp_path, "adhoc")
    assert capsys.readouterr().err.count("was edited") == 2
    assert not (tmp_path / "runs").exists()


def test_ids_of_another_version_are_put_back_and_said(made_result, tmp_path):
    old = {"version": 1, "model": "resnet8"}
    result = made_result(config=old, run_id=digest(old), experiment="old")
    write_result(paths.records(tmp_path, "old") / f"{digest(old)}_seed_0.json", result)
    assert "1 have ids of before version 2" in str(restore(tmp_path, "old"))


def test_without_records_it_says_how_to_make_them(tmp_path):
    with pytest.raises(SettingError, match="python -m experiments.records collect demo"):
        restore(tmp_path, "demo")
    assert command.main(["restore", "--results", str(tmp_path)]) == 1


def test_committed_records_can_be_put_back(tmp_path):
    committed = Path(__file__).resolve().parents[2] / "results/records/demo"
    for path in committed.iterdir():
        files.write_bytes(tmp_path / "records/demo" / path.name, path.read_bytes())
    assert len(restore(tmp_path, "demo").made) == len(list(committed.iterdir()))
