"""What is written about runs, and what is refused when it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import records as command
from experiments import tables
from experiments.ground import files, paths, provenance
from experiments.report.__main__ import main as report
from experiments.results import records
from experiments.results.records import read_result
from experiments.results.schema import checksum
from experiments.runs.folder import RunFolder
from spa.errors import InputError, OutputError, SettingError


@pytest.fixture
def folder(parsed, tmp_path) -> RunFolder:
    return RunFolder(parsed(f"results_dir={tmp_path}", "experiment=demo", "seed=-3"))


def test_the_folder_is_experiment_run_id_and_seed(folder, tmp_path):
    expected = tmp_path / "runs" / "demo" / folder.settings.run_id / "seed_-3"
    assert folder.path == expected


def test_a_run_goes_from_nothing_to_running_to_done(folder, made_result):
    def state() -> str:
        return json.loads((folder.path / "status.json").read_text())["state"]

    assert not folder.done()
    folder.start({"seed": -3}, ["seed=-3"])
    assert state() == "running"
    assert not folder.done()
    folder.log({"stage": "dense", "epoch": 1, "loss": 0.5})
    folder.finish(made_result())
    assert state() == "done"
    assert folder.done()
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        *("config.yaml", "overrides.yaml", "env.json", "status.json"),
        *("metrics.jsonl", "result.json"),
    }
    (line,) = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] == 0.5


def test_a_failure_keeps_its_traceback_and_is_not_done(folder):
    folder.start({}, [])
    try:
        raise ZeroDivisionError("on purpose")
    except ZeroDivisionError as error:
        folder.fail(error)
    status = json.loads((folder.path / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["error"] == "ZeroDivisionError: on purpose"
    assert "test_records.py" in status["traceback"]
    assert not folder.done()


def test_a_second_try_starts_clean(folder, made_result):
    folder.start({}, [])
    folder.finish(made_result())
    (folder.path / "finetuned.onnx").write_bytes(b"old")
    folder.start({}, [])
    assert not (folder.path / "finetuned.onnx").exists()
    assert not (folder.path / "result.json").exists()


@pytest.mark.parametrize("content", ["", "{", '"text"', '{"schema_version": 2}'])
def test_done_with_a_torn_result_is_not_done(folder, made_result, content):
    folder.start({}, [])
    folder.finish(made_result())
    (folder.path / "result.json").write_text(content)
    assert not folder.done()
    with pytest.raises(InputError, match=r"seed_-3/result\.json is torn"):
        read_result(folder.path / "result.json")


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_another_schema_version_is_refused(tmp_path, made_result, version):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(made_result(schema_version=version)))
    with pytest.raises(InputError, match="schema_version"):
        read_result(path)


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"n": 1})

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OutputError, match=r"a\.json: No space left on device"):
        files.write_json(path, {"n": 2})
    assert json.loads(path.read_text()) == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"n": float("nan")})


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        files.write_text(tmp_path / "file" / "a.txt", "")


def test_collect_copies_what_is_finished_and_drops_what_is_gone(tmp_path, made_result):
    for seed in (0, -1):
        path = paths.run(tmp_path, "made", "aaaaaaaaaa", seed) / "result.json"
        files.write_json(path, made_result(seed=seed))
    files.write_json(tmp_path / "records/made/old_seed_0.json", {})
    assert command.main(["collect", "made", "--results", str(tmp_path)]) == 0
    names = sorted(path.name for path in (tmp_path / "records/made").iterdir())
    assert names == ["aaaaaaaaaa_seed_-1.json", "aaaaaaaaaa_seed_0.json"]
    both = [records.read_results(tmp_path / source, "made") for source in ("runs", "records")]
    assert both[0] == both[1]
    frame = records.load(tmp_path / "records", "made")
    assert frame["metrics.finetuned.acc"].tolist() == [0.98, 0.98]


def test_what_is_exported_is_what_was_read(tmp_path, made_result, capsys):
    import pandas as pd

    hashes = {"data_sha256": "ab", "dense_sha256": "cd", "plan_input": {"sha256": "cd"}}
    results = [
        made_result(**hashes),
        made_result(
            **hashes,
            **{"seed": 1, "run_id": "b", "experiment": "other", "method": "obspa"},
            **{"criterion": None, "calibration": "bn", "bn_refresh": "relative"},
            **{"asked": {"rp": 1.5}, "details": {"rounds": [1, 2]}, "prune_seconds": 1 / 3},
            training={"finetune": {"epochs": 3}, "budget": {"train": {"milestones": [1]}}},
        ),
    ]
    for result in results:
        name = f"{result['run_id']}_seed_{result['seed']}.json"
        files.write_json(tmp_path / "records" / result["experiment"] / name, result)
    source = ["--source", str(tmp_path / "records"), "--to", str(tmp_path / "out")]
    assert command.main(["export", *source]) == 0
    assert "2 runs in" in capsys.readouterr().err
    frame = records.load(tmp_path / "records")
    assert frame["experiment"].tolist() == ["made", "other"]
    assert frame["details"].tolist() == [{}, {"rounds": [1, 2]}]
    assert frame["asked.rp"].tolist()[1] == 1.5
    parquet = pd.read_parquet(tmp_path / "out/runs.parquet")
    comma = pd.read_csv(tmp_path / "out/runs.csv", float_precision="round_trip")
    for table in (parquet, comma):
        assert list(table.columns) == list(frame.columns)
        for column in frame:
            for i, expected in enumerate(frame[column]):
                found = table[column][i]
                if isinstance(expected, (list, dict)) or column == "bn_refresh":
                    found = None if pd.isna(found) else json.loads(found)
                if not isinstance(expected, (list, dict)) and pd.isna(expected):
                    assert found is None or pd.isna(found)
                else:
                    assert found == expected
    assert command.main(["export", "other", *source]) == 0
    assert pd.read_parquet(tmp_path / "out/runs.parquet")["run_id"].tolist() == ["b"]


NESTED = {"reached": "text", "widths": 7, "framework": None, "hardware": {"cpu": 1}}
EMPTY = {"asked": {}, "metrics": {"dense": 1}, "training": [], "seed": True, "code": None}
ODD = {"task": "nobody's", "run_id": "../../x", "latency_ms": {"dense": "1", "pruned": 1}}

DONE = {
    **{"state": "done", "run_id": "aaaaaaaaaa", "seed": 1, "model": "m", "framework": "pytorch"},
    **{"dataset": "digits", "method": "spa", "criterion": "l1", "time": "train_prune"},
    **{"trainer": "cpu", "asked": {"rf": 2.0}, "calibration": None},
}


def damaged() -> dict[str, Callable[[Path, dict[str, Any]], object]]:
    """Ways to damage a result file, by name; each writes it."""

    def rewritten(**changes: Any) -> Callable[[Path, dict[str, Any]], object]:
        def write(path: Path, result: dict[str, Any]) -> None:
            files.write_json(path, result | changes | {"checksum": checksum(result | changes)})

        return write

    def texts(text: str) -> Callable[[Path, dict[str, Any]], object]:
        return lambda path, _: files.write_text(path, text)

    return {
        "torn": texts('{"schema_version": 2'),
        "brackets": texts("[" * 99999),
        "infinite": lambda p, r: p.write_text(json.dumps(r).replace("0.25", "1e999")),
        "nan": lambda p, r: p.write_text(json.dumps(r).replace("0.25", "NaN")),
        "no text": lambda p, _: p.write_bytes(b"\xff\xfe"),
        "edited": lambda p, r: p.write_text(json.dumps(r | {"prune_seconds": 0.1})),
        "folder": lambda p, _: p.mkdir(),
        "pipe": lambda p, _: os.mkfifo(p),
        "gone": lambda p, _: files.write_json(p.with_name("status.json"), DONE),
        "link to nothing": lambda p, _: p.symlink_to("nothing"),
        "link to itself": lambda p, _: p.symlink_to(p.name),
        **{key: rewritten(**{key: value}) for key, value in (NESTED | EMPTY | ODD).items()},
        "schema 2": lambda p, _: p.write_text('{"schema_version": 2, "acc": 5, "config": 1}'),
    }


@pytest.mark.parametrize("how", damaged())
def test_a_damaged_record_is_named_in_one_line_and_stops_nothing(
    tmp_path, made_result, capsys, how
):
    whole, path = (paths.run(tmp_path, "made", "aaaaaaaaaa", i) / "result.json" for i in (0, 1))
    files.write_json(whole, made_result())
    path.parent.mkdir(parents=True)
    damaged()[how](path, made_result(seed=1))
    arguments = ["--results", str(tmp_path)]
    for main, each in (
        *((command.main, ["export", "--to", str(tmp_path / "out")]),),
        *((command.main, ["collect", "made"]),),
        *((tables.main, ["--experiment", "made"]), (report, ["--experiment", "made"])),
    ):
        assert main([*each, *arguments]) == 0
        told = [line for line in capsys.readouterr().err.splitlines() if str(path) in line]
        assert len(told) == 1
        assert all(line.startswith("warning: passed over: ") for line in told)
    assert [p.name for p in (tmp_path / "records/made").iterdir()] == ["aaaaaaaaaa_seed_0.json"]
    assert (tmp_path / "tables/made.md").read_text().count("aaaaaaaaaa") == 2  # its row, its link


def test_the_record_of_a_run_that_is_damaged_now_stays(tmp_path, made_result):
    for seed in (0, 1):
        path = paths.run(tmp_path, "made", "aaaaaaaaaa", seed) / "result.json"
        files.write_json(path, made_result(seed=seed))
    before = {path.name: path.read_bytes() for path in records.collect(tmp_path, "made")}
    path.write_text("")
    records.collect(tmp_path, "made")
    after = {path.name: path.read_bytes() for path in (tmp_path / "records/made").iterdir()}
    assert after == before


def test_nothing_to_export_or_collect_is_an_error(tmp_path, capsys):
    assert command.main(["export", "--results", str(tmp_path)]) == 1
    assert "there is no finished run in" in capsys.readouterr().err
    assert command.main(["collect", "--results", str(tmp_path)]) == 1
    assert "collect needs an experiment" in capsys.readouterr().err


def test_collecting_nothing_is_an_error(tmp_path, capsys):
    with pytest.raises(SettingError, match="no finished run"):
        records.collect(tmp_path, "nothing")
    assert command.main(["collect", "nothing", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: there is no finished run")


def test_the_environment_names_no_path_user_or_host():
    text = json.dumps(provenance.environment())
    for secret in (os.path.expanduser("~"), os.uname().nodename, str(paths.Path.cwd())):
        assert secret not in text
    assert provenance.environment()["packages"]["numpy"]


@pytest.mark.parametrize("content", ["{", "[]", '{"state": "running"}'])
def test_a_torn_status_is_named_and_passed_over(tmp_path, capsys, content):
    path = paths.run(tmp_path, "made", "aaaaaaaaaa", 0) / "status.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert records.read_unfinished(tmp_path / "runs", "made") == []
    assert f"warning: passed over: {path} is torn" in capsys.readouterr().err


NAMES = ("../../../outside", "/tmp/absolute", "", "..", ".", ".hidden", "a/b", "a\\b", "a\nb", "-m")


@pytest.mark.parametrize("name", [*NAMES, "a\x1b[2J", "a\0b", "x" * 300, "a ", "\ud800"])
def test_no_name_of_an_experiment_leads_out_of_the_results(tmp_path, composed, capsys, name):
    from omegaconf import open_dict

    from experiments.config.parsing import parse

    cfg = composed(f"results_dir={tmp_path}")
    with open_dict(cfg):
        cfg.experiment_name = name
    with pytest.raises(SettingError, match="is no name of an experiment"):
        parse(cfg)
    inner = tmp_path / "a" / "b"
    for main in (tables.main, report):
        assert main([f"--experiment={name}", "--results", str(inner)]) == 1
    for action in () if name.startswith("-") else ("collect", "restore", "export"):
        assert command.main([action, name, "--results", str(inner)]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("room", ["runs", "records"])
def test_a_link_among_the_experiments_is_no_way_out(tmp_path, room):
    (tmp_path / "elsewhere").mkdir()
    results = tmp_path / "results"
    (results / room).mkdir(parents=True)
    (results / room / "demo").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="leads out of"):
        getattr(paths, room)(results, "demo")
    (tmp_path / "linked").symlink_to(results)  # the results themselves may lie anywhere
    assert getattr(paths, room)(tmp_path / "linked", "other")


def test_a_logger_that_is_interrupted_does_not_undo_a_run(folder, made_result):
    folder.start({}, [])
    folder.finish(made_result())
    folder.interrupt()
    assert folder.done()


@pytest.mark.parametrize("end", ["killed", "interrupted", "failed"])
def test_the_next_try_goes_on_with_what_the_same_code_left(folder, end, monkeypatch):
    assert not folder.start({}, [])
    began = folder.started
    (folder.path / "prune.json").write_text("{}")
    (folder.path / ".pruned.onnx.ab12cd34").write_bytes(b"half of it")
    if end == "interrupted":
        folder.interrupt()
    if end == "failed":
        folder.fail(OSError("No space left on device"))
    assert folder.start({}, [])
    assert folder.started == began
    assert (folder.path / "prune.json").exists()
    assert not (folder.path / ".pruned.onnx.ab12cd34").exists()
    monkeypatch.setattr(provenance, "code", lambda: {"commit": "another"})
    assert not folder.start({}, [])
    assert not (folder.path / "prune.json").exists()
