"""The timed benchmarks, on small things: that they run and what they write; no time is asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.bench import coupling, growth


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
    assert (tmp_path / "growth.svg").stat().st_size > 0
    assert (tmp_path / "growth.png").stat().st_size > 0
    assert capsys.readouterr().out.count("Goal: ") == 2
