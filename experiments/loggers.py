"""Who else hears of a run. The files come first; a logger only mirrors them.

A logger that fails never fails a run: it says so once and is silent from then on.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from experiments.schema import Result
from experiments.settings import Settings


class Logger(Protocol):
    """Gets what goes into metrics.jsonl and result.json."""

    def metrics(self, row: dict[str, Any]) -> None:
        """Take one line of metrics."""
        ...

    def finish(self, result: Result | None) -> None:
        """Take the result; None when the run failed."""
        ...


class CsvLogger:
    """metrics.csv beside metrics.jsonl, with one column for every key seen."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.path = folder / "metrics.csv"
        self.rows: list[dict[str, Any]] = []

    def metrics(self, row: dict[str, Any]) -> None:
        """Take one line of metrics and write the file anew."""
        self.rows.append(row)
        columns = list(dict.fromkeys(key for line in self.rows for key in line))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def finish(self, result: Result | None) -> None:
        """Nothing is left to write."""


class WandbLogger:
    """Weights & Biases: group = experiment, job type = time, id = run id and seed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        import wandb

        mode = settings.logger.get("mode") or os.environ.get("WANDB_MODE")
        if mode is None and wandb.api.api_key is None:
            mode = "offline"  # without a key it would ask on the terminal
        self.run = wandb.init(
            project=str(settings.logger.get("project", "spa")),
            dir=str(folder),
            group=settings.experiment,
            job_type=settings.time,
            id=f"{settings.run_id}-{settings.seed}".replace("--", "-minus-"),
            name=f"{settings.model} {settings.criterion or settings.method} {settings.seed}",
            config=settings.semantic() | {"seed": settings.seed},
            mode=mode,
            resume="allow",
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def metrics(self, row: dict[str, Any]) -> None:
        """Log the numbers of one line, named <stage>/<key>."""
        stage = str(row.get("stage", "run"))
        self.run.log({f"{stage}/{k}": v for k, v in row.items() if isinstance(v, (int, float))})

    def finish(self, result: Result | None) -> None:
        """Put the result into the summary and close the run."""
        if result is not None:
            self.run.summary.update(dict(result))
        self.run.finish(exit_code=0 if result is not None else 1)


class Careful:
    """Wraps a logger: the first exception silences it."""

    def __init__(self, make: Callable[[], Logger]) -> None:
        self._inner: Logger | None = None
        self._do(lambda: setattr(self, "_inner", make()))

    def metrics(self, row: dict[str, Any]) -> None:
        """Pass on one line of metrics."""
        if (inner := self._inner) is not None:
            self._do(lambda: inner.metrics(row))

    def finish(self, result: Result | None) -> None:
        """Pass on the result."""
        if (inner := self._inner) is not None:
            self._do(lambda: inner.finish(result))

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # no key, no network, no disk: a mirror is not worth a run
            self._inner = None
            print(f"logger switched off: {type(error).__name__}: {error}", file=sys.stderr)


LOGGERS: dict[str, type[CsvLogger] | type[WandbLogger] | None] = {
    "none": None,
    "csv": CsvLogger,
    "wandb": WandbLogger,
}


def make(settings: Settings, folder: Path) -> Logger | None:
    """Open the logger that the settings name."""
    kind = LOGGERS[str(settings.logger["name"])]
    return None if kind is None else Careful(lambda: kind(settings, folder))
