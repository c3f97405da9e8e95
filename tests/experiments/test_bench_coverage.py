"""The coverage benchmark: trials in processes of their own, limits, resuming, tables."""

from __future__ import annotations

import csv
import json

import pytest

from experiments.bench import coverage
from experiments.bench.networks import listed


@pytest.mark.slow
def test_a_network_is_pruned_in_a_process_of_its_own(tmp_path, capsys):
    arguments = ["--networks", "torchvision/squeezenet1_1", "--tools", "spa", "torch_pruning"]
    coverage.main([*arguments, "--results", str(tmp_path)])
    (spa, other) = coverage.read(tmp_path / "coverage.jsonl")
    assert spa["success"]
    assert spa["exact"]
    assert spa["rf"] > 1.5
    assert spa["params"] == 1_235_496
    assert 0 < spa["peak_mib"] < coverage.MEMORY_MIB
    assert other["tool"] == "torch_pruning"
    assert other["success"], other
    with (tmp_path / "coverage.csv").open() as file:
        assert [row["network"] for row in csv.DictReader(file)] == ["torchvision/squeezenet1_1"] * 2
    assert "| torchvision | 1 of 1 | 1 of 1 |" in capsys.readouterr().out
    # What is done is not done again.
    before = (tmp_path / "coverage.jsonl").read_bytes()
    coverage.main([*arguments, "--results", str(tmp_path)])
    assert (tmp_path / "coverage.jsonl").read_bytes() == before


def test_a_network_that_nobody_knows_is_a_failure_with_a_reason():
    result = coverage.run_trial("torchvision/resnet19", "spa", 120, 4096)
    assert not result["success"]
    assert result["stage"] == "build"
    assert "resnet19" in result["reason"]


@pytest.mark.parametrize(("seconds", "mib", "word"), [(0.2, 4096, "0.2 s"), (120, 8, "8 MiB")])
def test_limits_end_a_trial(seconds, mib, word):
    result = coverage.run_trial("torchvision/resnet18", "spa", seconds, mib)
    assert (result["stage"], result["success"]) == ("limits", False)
    assert result["reason"] == f"it took more than {word}"


def test_the_lists_are_long_and_without_repeats():
    assert len(listed("timm")) >= 200
    assert len(set(listed())) == len(listed())
    assert {"torchvision/densenet121", "torchvision/fcn_resnet50"} <= set(listed("torchvision"))


def test_a_summary_counts_by_family_and_tool():
    results = [
        {"network": f"timm/{name}", "tool": "spa", "success": name != "c"} for name in "abc"
    ] + [json.loads('{"network": "torchvision/a", "tool": "spa", "success": true}')]
    assert coverage.summary(results).splitlines()[2:] == [
        "| timm | 2 of 3 |",
        "| torchvision | 1 of 1 |",
    ]
