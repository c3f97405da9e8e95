"""The timed benchmarks, on small things: that they run and what they write; no time is asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.bench import coupling, growth, harness, latency, whole


def _read(path: Path) -> list[dict[str, str]]:
    about = json.loads(path.with_suffix(".json").read_text())
    assert set(about) == {"code", "hardware", "python", "packages"}
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_groups_are_timed_beside_torch_pruning(tmp_path, capsys):
    arguments = ["--networks", "squeezenet1_1", "--size", "64", "--rounds", "2"]
    coupling.main([*arguments, "--results", str(tmp_path)])
    (row,) = _read(tmp_path / "coupling.csv")
    assert row["network"] == "squeezenet1_1"
    times = {key: float(row[key]) for key in row if key.endswith("_ms")}
    assert min(times.values()) > 0
    assert times["runs_ms"] < times["load_ms"]
    assert times["peer_ms"] / times["spa_ms"] == pytest.approx(float(row["times"]), rel=0.01)
    printed = capsys.readouterr().out
    assert "| squeezenet1_1 |" in printed
    assert "Goal: at least 5 times as fast by the median, and never slower." in printed


@pytest.mark.slow
def test_growth_is_measured_by_family(tmp_path, capsys):
    arguments = ["--families", "resnet", "densenet", "--sizes", "10", "14", "--rounds", "2"]
    growth.main([*arguments, "--results", str(tmp_path)])
    rows = _read(tmp_path / "growth.csv")
    assert [(row["family"], row["size"]) for row in rows] == [
        *(("resnet", "10"), ("resnet", "14")),
        *(("densenet", "10"), ("densenet", "14")),
    ]
    # Convolutions inside of the four blocks, and what the sums tie together: 4 stages.
    assert int(rows[0]["channels"]) == 2 * sum(growth.WIDTHS)
    for row in rows:
        size = int(row["nodes"]) + int(row["channels"])
        assert float(row["us_each"]) == pytest.approx(1e3 * float(row["ms"]) / size, rel=0.01)
        assert float(row["first_ms"]) > 0
        assert float(row["members_ms"]) > 0
    # Inside of 4 blocks: a convolution, its norm, the next one. By stage, with what reads its sum:
    # stem and block; twice shortcut and block; the same before the classifier.
    assert int(rows[0]["members"]) == 4 * (1 + 4 + 1) + (10 + 3) + 2 * (10 + 2) + (10 + 1)
    assert (tmp_path / "growth.svg").stat().st_size > 0
    assert (tmp_path / "growth.png").stat().st_size > 0
    assert capsys.readouterr().out.count("Goal: ") == 2


@pytest.mark.slow
def test_the_whole_job_is_timed_beside_torch_pruning(tmp_path, capsys):
    arguments = ["--networks", "squeezenet1_1", "--size", "64", "--rounds", "1"]
    whole.main([*arguments, "--results", str(tmp_path)])
    (row,) = _read(tmp_path / "whole.csv")
    # The same shares of the same channels.
    assert float(row["rp"]) == pytest.approx(float(row["peer_rp"]), rel=0.05)
    assert row["equal"] == "True"
    stages = ("load", "groups", "l1", "plan", "surgery", "proof", "save")
    assert sum(float(row[name]) for name in stages) == pytest.approx(float(row["spa"]), rel=0.01)
    stages = ("peer_build", "peer_prune", "peer_export")
    assert sum(float(row[name]) for name in stages) == pytest.approx(float(row["peer"]), rel=0.01)
    assert "Goal: at most 1 of Torch-Pruning's time." in capsys.readouterr().out


@pytest.mark.slow
def test_latency_is_measured_dense_and_pruned_and_explained(tmp_path, capsys):
    arguments = ["--networks", "squeezenet1_1", "--size", "64", "--rounds", "5"]
    latency.main([*arguments, "--results", str(tmp_path)])
    rows = _read(tmp_path / "latency.csv")
    assert [row["round_to"] for row in rows] == ["1", "8", "16"]
    for row in rows:
        assert float(row["rf"]) == pytest.approx(2, rel=0.1)
        gain = float(row["dense_ms"]) / float(row["pruned_ms"])
        assert gain == pytest.approx(float(row["gain"]), rel=0.01)
    operators = _read(tmp_path / "latency_operators.csv")
    convolutions = [row for row in operators if row["operator"] in ("Conv", "FusedConv")]
    assert {row["round_to"] for row in convolutions} == {"1", "8", "16"}
    printed = capsys.readouterr().out
    assert "| squeezenet1_1 | 8 |" in printed
    assert printed.count("Goal: a gain of at least 0.8 of RF") == 2


def test_an_operators_loss_is_what_it_takes_beyond_its_share():
    dense = {"Conv": 8.0, "MaxPool": 1.0}
    pruned = {"Conv": 3.0, "FusedConv": 2.0, "MaxPool": 0.5, "Reorder": 0.25}
    found = latency.losses(dense, pruned, rf=2.0)
    assert found == [("Conv", 1.0), ("Reorder", 0.25), ("MaxPool", 0.0)]


@pytest.mark.slow
def test_the_harness_is_timed_on_as_many_runs_as_asked(tmp_path, capsys, monkeypatch):
    short = ("model=resnet8", "criterion=l1,random", "trainer=smoke", "trainer.train.epochs=1")
    monkeypatch.setattr(harness, "SWEEP", (*short, "trainer.finetune.epochs=1"))
    records = Path(__file__).resolve().parents[2] / "results/records/demo"
    harness.main(["--runs", "12", "--records", str(records), "--results", str(tmp_path)])
    rows = _read(tmp_path / "harness.csv")
    assert [row["runs"] for row in rows] == ["12", "2", "2"]
    assert all(float(row["seconds"]) > 0 for row in rows)
    # It is the harness's own time, so some but not all of what a sweep takes.
    for at_once, row in enumerate(rows[1:], 1):
        whole = float(row["seconds"]) * at_once / 2
        assert 0 < float(row["overhead_seconds"]) < whole
    printed = capsys.readouterr().out
    assert "Goal: 12 finished runs tabulated in under 10 s. Found:" in printed
    assert "Goal: at most 5 s a run beside training, pruning and evaluation. Found:" in printed


def test_the_runs_that_are_timed_are_as_many_settings_and_seeds():
    made = harness.variations(dict(_record()), harness.RUNS)
    assert len({(result["run_id"], result["seed"]) for result in made}) == harness.RUNS
    assert len({result["run_id"] for result in made}) == harness.RUNS // len(harness.SEEDS)


def _record():
    folder = Path(__file__).resolve().parents[2] / "results/records/demo"
    return json.loads(sorted(folder.glob("*.json"))[0].read_text())
