"""OBSPA: layer-wise reconstruction, with or without data, without fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.config.settings import Settings
from experiments.methods import method
from experiments.methods.spa import limits
from experiments.methods.task import Task


@method("obspa", needs=("calibration", "trained"))
def prune(dense: Path, task: Task, target: Any, cfg: Settings, seed: int) -> Any:
    """Choose channels, refit what stays, cut."""
    import spa.obspa
    from experiments.training.loop import prepare

    return spa.obspa.prune(
        dense,
        target=target,
        calibration=task.calibration(),
        bn_refresh=cfg.bn_refresh,
        seed=seed,
        limits=limits(cfg),
        samples=cfg.calibration_samples,
        device=str(prepare(cfg.device, cfg.threads)),
        **cfg.options,
    )
