"""A results folder made by hand, for the tests of the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.ground import files, paths
from experiments.results import records
from spa.pruning.plan import Plan, PlannedGroup, Removal

NASTY = "</script><img src=x onerror=alert(1)>"
EXPERIMENT = "made"


def group(place: int, channels: int, removed: int, *members: tuple[str, int]) -> PlannedGroup:
    return PlannedGroup(place, channels, tuple(range(removed)), True, members)


def residual(removed: Sequence[int]) -> Plan:
    """A stem, a residual block on it, and a wider block after: a cycle and a chain."""
    groups = (
        group(0, 16, removed[0], ("stem", 0), ("a.first", 1), ("a.second", 0), ("b.first", 1)),
        group(1, 16, removed[1], ("a.first", 0), ("a.second", 1)),
        group(2, 32, removed[2], ("b.first", 0), ("b.norm", 0), ("head", 1)),
    )
    cut = tuple(
        Removal(name, axis, g.channels, g.removed)
        for g in groups
        if g.removed
        for name, axis in g.members
    )
    return Plan("00", "l1", {"rf": 2.0}, {"rf": 2.0, "rp": 2.0}, cut, groups)


def results_folder(root: Path, make: Callable[..., dict[str, Any]]) -> Path:
    """Ten settings: RF 1.5 to 6 by l1, two seeds each, one of VGG, one that failed, one nasty."""
    for i, rf in enumerate((1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 12.0)):
        for seed in (0, 1):
            change = {"asked": {"rf": rf}, "reached": {"rf": rf, "rp": 1 + i / 10}}
            run = make(run_id=f"{i}" * 10, seed=seed, **change)
            _done(root, run, residual((4, 8 - seed, i)))
    _done(root, make(run_id="77aa", model="vgg_small", criterion="random"), residual((1, 1, 1)))
    _done(root, make(run_id="88aa", model=NASTY), residual((1, 1, 1)), config=NASTY)
    what = make(run_id="99aa", asked={"rf": 500.0})
    keys = ("run_id", "experiment", "model", "framework", "dataset", "method", "criterion", "time")
    status = {key: what[key] for key in (*keys, "trainer", "asked", "calibration", "seed")}
    lost = {**status, "state": "failed", "error": f"RunError: {NASTY}", "traceback": f"at {NASTY}"}
    files.write_json(paths.run(root, EXPERIMENT, "99aa", 0) / "status.json", lost)
    return root


def _done(root: Path, result: dict[str, Any], plan: Plan, config: str | None = None) -> None:
    folder = paths.run(root, EXPERIMENT, result["run_id"], result["seed"])
    records.write_result(folder / "result.json", result)
    files.write_json(folder / "status.json", {"state": "done"})
    files.write_text(folder / "plan.json", json.dumps(plan.to_json()))
    files.write_text(folder / "config.yaml", config or yaml.safe_dump({"seed": result["seed"]}))
