"""What scores, on the command line, and the line that says what it looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spa.importance.criterion import Criterion
from spa.importance.from_file import from_file, is_file
from spa.importance.score import chosen_criterion


def criterion_of(text: str) -> Criterion:
    """The criterion of ``--criterion``: a registered name, or ``FILE.py:NAME``.

    Raises:
        SettingError: there is none of that name, or the file fails.
    """
    return from_file(text) if is_file(text) else chosen_criterion(text)


def scored_line(criterion: str, seen: Mapping[str, Any], path: str | None) -> str:
    """Says what a criterion looked at.

    Args:
        criterion: its name.
        seen: what the plan says of it.
        path: the file that data came from.
    """
    source = seen.get("data")
    if source is None:
        return f"scored by {criterion}, which saw no data"
    if source == "ones":
        return f"scored by {criterion} on an input of ones; it saw no data"
    count = seen["samples"]
    samples = f"{count:,} sample{'s' if count != 1 else ''}"
    parts = [
        f"scored by {criterion} on {samples} of {path if source == 'data' else source}",
        *([f"loss {seen['loss']}"] if "loss" in seen else []),
        *([f"{seen['fisher']} Fisher"] if "fisher" in seen else []),
    ]
    if seen.get("loss") == "cross_entropy":
        own = seen.get("fisher") == "true" or not seen["targets"]
        parts.append("labels of the model's own" if own else "labels given")
    return ", ".join(parts)
