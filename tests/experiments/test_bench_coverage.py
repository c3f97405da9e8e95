"""The coverage benchmark: trials in processes of their own, limits, resuming, tables."""

from __future__ import annotations

import csv
import sys

import pytest

from experiments.bench import coverage
from experiments.bench.networks import listed


@pytest.mark.slow
def test_a_network_is_pruned_in_a_process_of_its_own(tmp_path, capsys):
    arguments = ["--networks", "torchvision/squeezenet1_1", "--tools", "spa", "torch_pruning"]
    coverage.main([*arguments, "--results", str(tmp_path)])
    (other, spa) = coverage.read(tmp_path / "coverage.jsonl")
    assert spa["success"]
    assert spa["exact"] == "yes"
    assert spa["rf"] > 1.5
    assert spa["params"] == 1_235_496
    assert 0 < spa["peak_mib"] < coverage.MEMORY_MIB
    assert other["tool"] == "torch_pruning"
    assert other["success"], other
    with (tmp_path / "coverage.csv").open() as file:
        assert [row["network"] for row in csv.DictReader(file)] == ["torchvision/squeezenet1_1"] * 2
    line = "| torchvision | 1 of 1 | 1 of 1 | 1, 0, 0, 0 | 1 of 1 | 1, 0, 0, 0 |"
    assert line in capsys.readouterr().out
    # What is done is not done again.
    before = (tmp_path / "coverage.jsonl").read_bytes()
    coverage.main([*arguments, "--results", str(tmp_path)])
    assert (tmp_path / "coverage.jsonl").read_bytes() == before


def test_a_network_that_nobody_knows_is_a_failure_with_a_reason_for_every_tool():
    results = list(coverage.run_trials("torchvision/resnet19", ["spa", "onnxsim"], 120, 4096))
    assert [result["tool"] for result in results] == ["spa", "onnxsim"]
    for result in results:
        assert not result["success"]
        assert result["stage"] == "build"
        assert "resnet19" in result["reason"]


@pytest.mark.parametrize(("seconds", "mib", "words"), [(0, 4096, "0 s"), (120, 8, "8 MiB")])
def test_limits_end_one_tool_and_not_the_next(seconds, mib, words):
    tools = ["torch_pruning", "spa"]
    results = list(coverage.run_trials("torchvision/squeezenet1_1", tools, seconds, mib))
    assert [result["tool"] for result in results] == tools
    for result in results:
        assert (result["stage"], result["success"]) == ("limits", False)
        assert result["reason"] == f"it took more than {words}"


DIES = """
import json, os, sys
print(json.dumps({"begins": sys.argv[2]}), flush=True)
sys.stderr.write("bad luck")
sys.stderr.flush()
os.abort()
"""


def test_a_tool_that_ends_the_process_fails_and_the_next_has_its_turn(monkeypatch):
    monkeypatch.setattr(coverage, "TRIAL", (sys.executable, "-c", DIES))
    results = list(coverage.run_trials("a network", ["a", "b"], 120, 4096))
    assert [(result["tool"], result["stage"]) for result in results] == [
        ("a", "crash"), ("b", "crash"),
    ]  # fmt: skip
    assert results[0]["reason"] == "exit code -6: bad luck"


def test_the_lists_are_long_and_without_repeats():
    assert len(listed("timm")) >= 200
    assert len(set(listed())) == len(listed())
    assert {"torchvision/densenet121", "torchvision/fcn_resnet50"} <= set(listed("torchvision"))


def _result(network, *, tool="spa", success=True, stage="done", exact="yes", **more):
    result = {"network": network, "tool": tool, "success": success, "stage": stage}
    return {**result, "exact": exact, **more}


def test_a_summary_counts_by_family_and_tool_and_export_failures_apart():
    results = [
        _result("timm/a"),
        _result("timm/b", exact="but for norms"),
        _result("timm/c", success=False, stage="prune", reason="it | said\nno"),
        _result("timm/d", success=False, stage="export"),
        _result("timm/a", tool="onnxsim", success=False),
        _result("torchvision/a", exact="no"),
    ]
    assert coverage.summary(results).splitlines()[2:] == [
        "| timm | 3 of 4 | 2 of 3 | 1, 1, 0, 0 | 0 of 1 | 0, 0, 0, 0 |",
        "| torchvision | 1 of 1 | 1 of 1 | 0, 0, 1, 0 | 0 of 0 | 0, 0, 0, 0 |",
    ]
    assert coverage.failures(results, "spa").splitlines()[2:] == [
        "| timm/c | prune | it \\| said no |",
        "| timm/d | export |  |",
    ]
