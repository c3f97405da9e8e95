"""metrics.csv beside metrics.jsonl."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from experiments.config.settings import Settings
from experiments.results.schema import Result


class CsvLogger:
    """Writes metrics.csv, with one column for every key seen."""

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

    def abandon(self) -> None:
        """Nothing is held."""
