"""The timed benchmarks, on small things: that they run and what they write; no time is asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.bench import coupling


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
