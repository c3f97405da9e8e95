"""What a sweep will take: read off earlier runs, counted once where shared, probed where asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from experiments.config.arguments import with_estimate
from experiments.ground import provenance
from experiments.sweeps import estimate, partition, past
from experiments.sweeps.past import Parts

TRAIN = ("trainer.train.epochs=10", "trainer.finetune.epochs=4")


def record(folder: Path, settings, number: int, hardware=None, **seconds: float) -> None:
    """A finished run of such settings that took so long."""
    stages = {"dense": 0.0, "prune": 1.0, "finetune": 0.0, "measure": 1.0} | seconds
    what = {
        "config": settings.semantic(), "time": settings.time, "asked": settings.asked,
        "hardware": hardware or provenance.hardware(), "params": {"dense": 1000, "pruned": 400},
        "seconds": {"total": sum(stages.values()) + 0.5, **stages},
        "training": {
            "dense": {"epochs": 5, "seconds": 5.0 * seconds.get("dense", 0.0), "processes": 1},
            "finetune": {"epochs": 2, "seconds": stages["finetune"], "processes": 1},
        },
    }  # fmt: skip
    path = folder / "records" / "past" / f"{number}_seed_0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what))


@pytest.fixture
def settings(parsed, tmp_path):
    return lambda *more: parsed(*TRAIN, f"results_dir={tmp_path}", *more)


def test_what_is_known_is_the_median_of_the_runs_most_alike(settings, tmp_path):
    mine = settings("criterion=l1", "target.rf=4")
    record(tmp_path, mine, 0, prune=3.0, finetune=6.0, dense=2.0)
    record(tmp_path, mine, 1, prune=5.0, finetune=6.0, dense=2.0)
    record(tmp_path, mine, 2, prune=100.0, finetune=6.0, dense=2.0)
    record(tmp_path, settings("criterion=l1", "target.rf=2"), 3, prune=50.0, finetune=50.0)
    record(tmp_path, settings("criterion=l2", "target.rf=4"), 4, prune=60.0)
    record(tmp_path, mine, 5, {"cpu": "another", "cores": 1, "gpu": None}, prune=900.0)
    (tmp_path / "records" / "past" / "6_seed_0.json").write_text("torn")
    found = past.parts(mine, past.records([tmp_path]))
    assert found.prune == 5.0
    assert found.dense == 2.0  # an epoch: 10 s for 5
    assert found.rest == pytest.approx(1.5)
    assert found.params == 1000
    other = past.parts(settings("criterion=l1", "target.rf=3"), past.records([tmp_path]))
    assert other.prune == pytest.approx((5.0 + 50.0) / 2)  # of any target: 3, 5, 50, 100
    assert not past.parts(settings("model=vgg_small"), past.records([tmp_path])).known(mine)


def test_stages_are_added_and_a_shared_dense_network_counts_once(settings, tmp_path):
    runs = [settings(f"criterion={name}", "target.rf=4") for name in ("l1", "l2")]
    for i, each in enumerate(runs):
        record(tmp_path, each, i, prune=3.0, finetune=6.0, dense=2.0)
    found = estimate.of(runs)
    each = 3.0 + 4 * 3.0 + 1.5
    assert found.seconds == pytest.approx(2 * each + 10 * 2.0)
    assert found.longest == pytest.approx(each + 10 * 2.0)
    assert found.unknown == 0
    assert "2 runs, 0 of them done; the other 2 take about 53 s (0.01 h) of one" in found.text
    unknown = estimate.of([*runs, settings("model=vgg_small")])
    assert unknown.seconds == found.seconds
    assert "1 runs nobody has timed are left out" in unknown.text


def test_equal_flops_and_no_training_are_taken_into_account(settings):
    parts = Parts(dense=2.0, prune=1.0, tuned=1.0, rest=0.0, params=10)
    longer = settings("time=scratch", "time.budget=flops", "target.rf=4")
    assert estimate.run_seconds(longer, parts, dense=False) == pytest.approx(1 + 10 * 4)
    bare = settings("time=train_prune")
    assert estimate.run_seconds(bare, parts, dense=False) == pytest.approx(1)


def test_a_probe_says_what_nobody_timed_and_leaves_nothing(settings, tmp_path):
    runs = [settings("trainer.train.batch=350", f"method={name}", "target.rf=1.5")
            for name in ("uniform", "dfpc")]  # fmt: skip
    blank = estimate.of(runs)
    assert (blank.unknown, blank.longest) == (2, None)
    assert "nobody has timed any like the other 2 on this hardware: --estimate" in blank.text
    found = estimate.of(runs, probing=True)
    assert found.unknown == 0
    assert 0 < found.longest < found.seconds < 600
    assert "by earlier runs on this hardware and a probe" in found.text
    assert found.disk > 0
    assert not list(tmp_path.iterdir())


def test_the_option_is_a_setting_among_the_others():
    line = ["-m", "model=resnet8", "seed=0,1"]
    assert with_estimate(line) == line
    assert with_estimate([*line, "--estimate"]) == ["-m", "estimate=true", *line[1:]]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4:00:00", 14400),
        ("1-12:00:00", 129600),
        ("30:00", 1800),
        ("infinite", None),
        ("n/a", None),
    ],
)
def test_times_are_read_as_slurm_writes_them(text, seconds):
    assert partition.seconds(text) == seconds


def test_jobs_that_end_too_early_are_warned_of(tmp_path, monkeypatch):
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\necho 2:00:00\necho infinite\n")
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    asked = {"partition": "short", "timeout_min": 240}
    warning = partition.too_short(3 * 3600.0, asked)
    assert (
        "expected to take about 3.0 h, but partition short ends jobs after about 2.0 h" in warning
    )
    assert partition.too_short(3600.0, asked) == "" == partition.too_short(None, asked)
    assert "timeout_min=60 ends jobs" in partition.too_short(7200.0, {"timeout_min": 60})
