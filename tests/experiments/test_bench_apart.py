"""Benchmarks that take every network in a process of its own, and go on where they were."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.bench import apart, bridge


@pytest.mark.slow
def test_the_bridge_benchmark_runs_and_goes_on_where_it_was(tmp_path: Path, capsys) -> None:
    arguments = ["--networks", "torchvision/squeezenet1_1", "torchvision/none"]
    bridge.main([*arguments, "--results", str(tmp_path)])
    path = tmp_path / "bridge.jsonl"
    rows = {row["network"]: row for row in map(json.loads, path.read_text().splitlines())}
    assert rows["torchvision/squeezenet1_1"]["stage"] == "done"
    assert rows["torchvision/none"]["stage"] == "build"
    with (tmp_path / "bridge.csv").open() as file:
        assert {row["network"] for row in csv.DictReader(file)} == set(rows)
    assert "| torchvision | 1 of 1 | 1 | 1 of 1 |" in capsys.readouterr().out
    before = path.read_bytes()
    bridge.main([*arguments, "--results", str(tmp_path)])
    assert path.read_bytes() == before


def test_a_lost_process_is_a_row_and_one_that_does_not_stay_is_tried_again(tmp_path: Path) -> None:
    path, said = tmp_path / "rows" / "a.jsonl", []

    def rows(*, stays: bool) -> list[apart.Row]:
        return apart.rows_of(
            "no.such.benchmark", ["b", "a"], path, lambda row: said.append(row) or "lost",
            seconds=60, jobs=2, stays=lambda row: stays,
        )  # fmt: skip

    assert [row["network"] for row in rows(stays=False)] == ["a", "b"]
    assert path.read_text() == ""
    (first, _) = rows(stays=True)
    assert first["stage"] == "process"
    assert first["reason"].startswith("exit code 1: ")
    assert len(rows(stays=True)) == 2
    assert len(said) == 4
