"""The main job on real data: train, export, prune, fine-tune, measure, record, tabulate."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from experiments import run, tables
from experiments.data import load
from experiments.results.schema import REQUIRED

pytestmark = pytest.mark.slow


def command(results: Path, *arguments: str) -> int:
    """Run the command in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        line = ["experiments.run", *arguments, "trainer=smoke", f"results_dir={results}"]
        patch.setattr(sys, "argv", line)
        try:
            run.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three times on resnet8 and digits at RF 2: four runs, one dense network."""
    folder = tmp_path_factory.mktemp("results")
    assert command(folder, "-m", "criterion=l1,random", "logger=csv") == 0
    assert command(folder, "time=prune_train", "criterion=snip") == 0
    assert command(folder, "time=train_prune", "criterion=l1") == 0
    return folder


def only(
    results: Path, time: str, experiment: str = "adhoc", **same: Any
) -> tuple[dict[str, Any], Path]:
    found = []
    for path in results.glob(f"runs/{experiment}/*/*/result.json"):
        result = json.loads(path.read_text())
        if result["time"] == time and all(result[key] == value for key, value in same.items()):
            found.append((result, path.parent))
    (pair,) = found
    return pair


def measured(path: Path) -> float:
    """Accuracy by a loop of its own, to compare with the recorded one."""
    net = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    test = load({"name": "digits"}).test
    x, y = test.take(np.arange(len(test)))
    return float((net.run(None, {net.get_inputs()[0].name: x["input"]})[0].argmax(1) == y).mean())


def test_train_prune_finetune_reaches_70_percent_at_rf_2(results):
    result, folder = only(results, "train_prune_finetune", criterion="l1")
    assert set(REQUIRED) <= set(result)
    assert result["metrics"]["finetuned"]["acc"] >= 0.7
    assert result["reached"]["rf"] >= 2
    for quantity, ratio in (("macs", "rf"), ("params", "rp")):
        costs = result[quantity]
        assert result["reached"][ratio] == pytest.approx(costs["dense"] / costs["pruned"])
    for stage in ("dense", "pruned", "finetuned"):
        assert result["metrics"][stage]["acc"] == pytest.approx(measured(folder / f"{stage}.onnx"))
        onnx.checker.check_model(onnx.load(folder / f"{stage}.onnx"), full_check=True)
    made = {path.name for path in folder.iterdir()}
    assert made >= {
        *("config.yaml", "overrides.yaml", "env.json", "status.json", "metrics.jsonl"),
        *("plan.json", "result.json", "metrics.csv"),
    }
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["schema"] == 1
    assert plan["model"] == result["plan_input"]["sha256"] == result["dense_sha256"]
    assert result["latency_ms"]["dense"] > 0
    assert result["proof"]


def test_prune_train_prunes_fresh_weights_and_trains_them(results):
    result, folder = only(results, "prune_train")
    assert result["metrics"]["pruned"]["acc"] < 0.4  # near chance: nothing has been trained
    assert result["metrics"]["finetuned"]["acc"] >= 0.7
    assert result["plan_input"]["file"] == "init.onnx"
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["model"] == result["plan_input"]["sha256"]
    assert result["metrics"]["dense"]["acc"] == pytest.approx(measured(folder / "dense.onnx"))


def test_obspa_without_data_needs_no_fine_tuning(results):
    arguments = ("time=train_prune", "method=obspa", "criterion=snip")
    assert command(results, *arguments, "experiment_name=obspa") == 0
    obspa, folder = only(results, "train_prune", experiment="obspa")
    l1, _ = only(results, "train_prune")
    assert obspa["criterion"] is None
    assert obspa["calibration"] == "bn"
    assert obspa["scores"] in ("static", "renewed")
    assert "finetuned" not in obspa["metrics"]
    assert not (folder / "finetuned.onnx").exists()
    plan = json.loads((folder / "plan.json").read_text())
    weights = (folder / obspa["plan_input"]["weights"]).read_bytes()
    assert plan["weights"] == hashlib.sha256(weights).hexdigest()
    assert obspa["metrics"]["pruned"]["acc"] > l1["metrics"]["pruned"]["acc"]


def test_dense_baselines_are_trained_once(results):
    (done,) = results.glob("dense/*/done.json")
    dense = (done.parent / "dense.onnx").read_bytes()
    copies = list(results.glob("runs/adhoc/*/*/dense.onnx"))
    assert len(copies) == 4
    assert all(path.read_bytes() == dense for path in copies)


@pytest.mark.parametrize("calibration", ["noise", "uniform", "id", "ood"])
def test_obspa_with_every_calibration(results, calibration):
    arguments = ("time=train_prune", "method=obspa", f"calibration={calibration}", "target.rf=1.5")
    assert command(results, *arguments, f"experiment_name={calibration}") == 0


def test_an_onnx_file_is_pruned_as_it_is(results, tmp_path):
    _, folder = only(results, "train_prune_finetune", criterion="l1")
    (tmp_path / "mine.onnx").write_bytes((folder / "dense.onnx").read_bytes())
    name = f"onnx/{tmp_path}/mine.onnx"
    assert command(tmp_path / "results", f"model={name}") == 0
    result, _ = only(tmp_path / "results", "train_prune_finetune")
    assert result["model"] == name
    assert result["training"]["dense"]["epochs"] == 0
    assert result["metrics"]["finetuned"]["acc"] >= 0.7


def test_out_of_reach_is_recorded_with_what_is_reachable(results):
    assert command(results, "target.rf=1e9", "experiment_name=far") == 1
    (path,) = results.glob("runs/far/*/*/status.json")
    status = json.loads(path.read_text())
    assert status["state"] == "failed"
    assert status["error"].startswith("InfeasibleTarget")


def test_the_table_has_every_run(results, capsys):
    arguments = ["--experiment", "adhoc", "--results", str(results), "--print"]
    assert tables.main(arguments) == 0
    text = capsys.readouterr().out
    assert text.count("| resnet8 |") == 4
    assert "—" not in text.split("- Mean")[0]
    for figure in ("accuracy_over_rf", "latency_over_macs", "prune_time_over_params", "widths"):
        assert (results / f"tables/adhoc_{figure}.png").stat().st_size > 5000
