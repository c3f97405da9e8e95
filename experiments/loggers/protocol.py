"""What a logger is."""

from __future__ import annotations

from typing import Any, Protocol

from experiments.results.schema import Result


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
