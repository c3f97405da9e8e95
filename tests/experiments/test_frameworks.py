"""Dense networks of every framework go through the whole harness."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import run
from spa.bridge.torchvision_shim import import_torchvision
from spa.frameworks import FRAMEWORKS, environments
from tests.experiments.tiny_files import write_cifar, write_imagenet

WORKED = sorted(set(FRAMEWORKS) - {"pytorch"})


def results(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Runs the command in this process; what it recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiments.run", *arguments, f"results_dir={folder}"])
        run.main()
    return [json.loads(path.read_text()) for path in folder.glob("runs/*/*/*/result.json")]


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKED)
def test_a_framework_trains_what_is_pruned_and_fine_tuned(name, tmp_path):
    environments.install(name)
    (result,) = results(tmp_path, f"framework={name}", "model=resnet8", "trainer=smoke")
    assert result["framework"] == name
    assert result["reached"]["rf"] >= 2
    assert result["metrics"]["dense"]["acc"] > 0.9
    assert result["metrics"]["finetuned"]["acc"] > 0.8
    assert result["training"]["dense"]["epochs"] == 6


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_the_paper_s_data_sets_feed_every_framework(name, tmp_path, monkeypatch):
    """The published budget cut to an epoch, on tiny files of the real format."""
    if name in WORKED:
        environments.install(name)
    cifar10 = import_torchvision().datasets.CIFAR10
    # The sums are those of the real files.
    monkeypatch.setattr(cifar10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(cifar10, "meta", {**cifar10.meta, "md5": None})
    write_cifar(tmp_path, "cifar-10-batches-py", 10)
    write_imagenet(tmp_path)
    short = [
        *("trainer.train.epochs=1", "trainer.finetune.epochs=1"),
        *("latency.batch=1", "latency.warmup=1", "latency.repeats=1"),
    ]
    found = results(
        tmp_path / "results",
        *("experiment=frameworks", "trainer=paper", f"framework={name}", "model=resnet20"),
        *("seed=0", f"data_root={tmp_path}", *short),
    )
    assert {r["dataset"] for r in found} == {"cifar10", "imagenet"}
    assert all(r["reached"]["rf"] >= 2 for r in found)
    assert all("finetuned" in r["metrics"] for r in found)
