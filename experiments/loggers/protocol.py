"""What a logger is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from experiments.schema import Result


class Logger(Protocol):
    """Gets what goes into metrics.jsonl and result.json."""

    def metrics(self, row: dict[str, Any]) -> None:
        """Take one line of metrics."""
        ...

    def finish(self, result: Result | None) -> None:
        """Take the result; None when the run failed."""
        ...

    def abandon(self) -> None:
        """Let go of everything: an exception came out of the logger, and nothing follows."""
        ...


def written(folder: Path) -> Iterator[dict[str, Any]]:
    """Read what an interrupted try left in metrics.jsonl, as `Logger.metrics` would get it."""
    path = folder / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:  # a line that was being written when the power went
            continue
        yield {key: value for key, value in row.items() if key != "at"}
