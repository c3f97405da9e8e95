"""Score, plan, cut: `spa.prune` with any criterion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.config.settings import Settings
from experiments.methods import method
from experiments.methods.task import Task

# Criteria that look at gradients of the loss, and so at labelled samples.
GRADIENT = ("snip", "grasp")


@method("spa", needs=("criterion",))
def prune(dense: Path, task: Task, target: Any, cfg: Settings, seed: int) -> Any:
    """Prune by a criterion."""
    import spa

    assert cfg.criterion is not None
    return spa.prune(
        dense,
        criterion=cfg.criterion,
        target=target,
        data=task.gradient_samples() if cfg.criterion in GRADIENT else None,
        seed=seed,
        aggregate=cfg.aggregate,
        normalize=cfg.normalize,
        limits=limits(cfg),
    )


def limits(cfg: Settings) -> Any:
    """Return what holds for the plan whatever the scores say."""
    import spa

    return spa.Limits(
        scope="local" if cfg.scope == "local" else "global",
        round_to=cfg.round_to,
        min_channels=cfg.min_channels,
        max_ratio=cfg.max_ratio,
        include=cfg.include,
        exclude=cfg.exclude,
    )
