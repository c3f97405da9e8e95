"""Fixtures of the harness's tests."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # experiments is not installed
    sys.path.insert(0, str(ROOT))

import experiments  # noqa: E402, F401  (puts its Hydra plugins on the path)

Compose = Callable[..., DictConfig]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def composed() -> Iterator[Compose]:
    """Compose the configuration from overrides, as the command line would."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):

        def make(*overrides: str) -> DictConfig:
            cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
            with open_dict(cfg):  # the resolver of this one needs a running application
                cfg.experiment_name = cfg.hydra.runtime.choices.experiment
                del cfg["hydra"]
            return cfg

        yield make


@pytest.fixture
def parsed(composed: Compose) -> Callable[..., Any]:
    """Compose and check, giving Settings."""
    from experiments.config.parsing import parse

    return lambda *overrides: parse(composed(*overrides))


@pytest.fixture
def carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make the wheel of a data set, where it is looked for, of files by name."""

    from experiments.ground import files

    def make(module: ModuleType, content: dict[str, str | bytes]) -> Path:
        package = module.PACKAGE
        suffix = ".zip" if package.source else ".whl"
        wheel = tmp_path / f"{package.name}-{package.version}{suffix}"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
        monkeypatch.setattr(module, "PACKAGE", replace(package, sha256=files.sha256(wheel)))
        return tmp_path

    return make


@pytest.fixture(scope="session")
def made_result() -> Callable[..., dict[str, Any]]:
    """Make the content of a result file by hand."""
    from experiments.results.schema import FLOPS, SCHEMA_VERSION, checksum

    def make(**changes: Any) -> dict[str, Any]:
        result: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "run_id": "aaaaaaaaaa",
            "experiment": "made",
            "model": "resnet8",
            "framework": "pytorch",
            "dataset": "digits",
            "task": "classification",
            "split": "test",
            "method": "spa",
            "criterion": "l1",
            "time": "train_prune_finetune",
            "trainer": "smoke",
            "seed": 0,
            "asked": {"rf": 2.0},
            "scope": "global",
            "aggregate": None,
            "normalize": None,
            "calibration": None,
            "bn_refresh": None,
            "options": {"method": {}, "criterion": {}},
            "reached": {"rf": 2.01, "rp": 1.9},
            "metrics": {"dense": {"acc": 0.99}, "pruned": {"acc": 0.5}, "finetuned": {"acc": 0.98}},
            "params": {"dense": 1000, "pruned": 526},
            "macs": {"dense": 4020, "pruned": 2000},
            "prune_seconds": 0.25,
            "latency_ms": {"dense": 2.0, "pruned": 1.5},
            "latency": {"batch": 32, "threads": 1, "warmup": 10, "repeats": 50},
            "widths": [{"name": "conv1.weight", "dense": 16, "pruned": 8}],
            "seen": [],
            "seconds": {"total": 9.0, "dense": 4.0, "prune": 0.5, "finetune": 3.0, "measure": 1.0},
            "config": {},
            "flops": FLOPS,
            "data_sha256": "11",
            "dense_sha256": "00",
            "plan_input": {"file": "dense.onnx", "sha256": "00"},
            "proof": [],
            "scores": None,
            "details": {},
            "training": {},
            "hardware": {"cpu": "a processor", "cores": 2, "gpu": None},
            "code": {"version": "0.1.0", "commit": "0123456789abcdef", "dirty": False},
            "started": "2026-01-02T03:03:56+00:00",
            "finished": "2026-01-02T03:04:05+00:00",
        }
        if (acc := changes.pop("acc", None)) is not None:  # None: no such stage
            found = {stage: {"acc": value} for stage, value in acc.items() if value is not None}
            result["metrics"] = found
        made = {**result, **changes}
        return {**made, "checksum": checksum(made)}

    return make
