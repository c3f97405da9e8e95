"""Who else hears of a run. The files come first; a logger only mirrors them.

A logger is a file here and an entry in LOGGERS, with a file conf/logger/<name>.yaml where it has
settings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from experiments.config.settings import Settings
from experiments.loggers.careful import Careful
from experiments.loggers.csv import CsvLogger
from experiments.loggers.protocol import Logger
from experiments.loggers.wandb import WandbLogger

__all__ = ["LOGGERS", "Careful", "CsvLogger", "Logger", "WandbLogger", "make"]

LOGGERS: dict[str, Callable[[Settings, Path], Logger] | None] = {
    "none": None,
    "csv": CsvLogger,
    "wandb": WandbLogger,
}


def make(settings: Settings, folder: Path) -> Logger | None:
    """Open the logger that the settings name, for a run's folder that was started.

    A try that goes on with an earlier one logs all that was logged before again.
    """
    kind = LOGGERS[str(settings.logger["name"])]
    return None if kind is None else Careful(lambda: kind(settings, folder))
