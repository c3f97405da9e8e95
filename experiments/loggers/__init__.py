"""Who else hears of a run. The files come first; a logger only mirrors them.

A logger is a file here, an entry in LOGGERS and a file conf/logger/<name>.yaml.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from experiments.loggers.careful import Careful
from experiments.loggers.csv import CsvLogger
from experiments.loggers.protocol import Logger, written
from experiments.loggers.wandb import WandbLogger
from experiments.settings import Settings

__all__ = ["LOGGERS", "Careful", "CsvLogger", "Logger", "WandbLogger", "make"]

LOGGERS: dict[str, Callable[[Settings, Path], Logger] | None] = {
    "none": None,
    "csv": CsvLogger,
    "wandb": WandbLogger,
}


def make(settings: Settings, folder: Path) -> Logger | None:
    """Open the logger that the settings name; it hears what metrics.jsonl holds already.

    Args:
        settings: the run's; ``settings.logger`` has the name and the logger's own settings.
        folder: the run's folder.
    """
    kind = LOGGERS[str(settings.logger["name"])]
    if kind is None:
        return None

    def opened() -> Logger:
        logger = kind(settings, folder)
        for row in written(folder):
            logger.metrics(row)
        return logger

    return Careful(opened)
