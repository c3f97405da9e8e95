"""The one number of a run that a search makes large or small.

optimized_metric=null                    the task's first metric, after the run's last stage
optimized_metric=latency_ms.pruned       any number of result.json, by its keys with dots
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from experiments.ground.registry import unknown
from experiments.results.frame import flat
from experiments.results.schema import Result
from experiments.tasks import TASKS, Metric
from spa.errors import SettingError

NOTHING = math.nan  # of a run that failed, or that another process works on
# What the first part of a key can be, known before anything ran.
PARTS = ("metrics", "reached", "params", "macs", "prune_seconds", "latency_ms", "seconds")


def check(key: str | None) -> None:
    """Refuse what no result has.

    Raises:
        SettingError: the key begins as none of a result's numbers does.
    """
    if key is not None and key.partition(".")[0] not in PARTS:
        raise unknown("optimized_metric", key, (f"{part}..." for part in PARTS))


def objective(result: Result, key: str | None = None) -> float:
    """Return the number.

    Args:
        result: of a finished run.
        key: see above.

    Raises:
        SettingError: the result has no such number.
    """
    if key is None:
        value = final(result)
        assert value is not None, "every run is measured once it is pruned"
        return value
    numbers = {name: value for name, value in flat(result).items() if _is_number(value)}
    if key not in numbers:
        known = sorted(name for name in numbers if name.partition(".")[0] in PARTS)
        raise SettingError(
            f"optimized_metric={key}, but the run has no such number; it has {', '.join(known)}"
        )
    return float(numbers[key])


def final(result: Mapping[str, Any]) -> float | None:
    """Return what the task's first metric says after the run's last stage; None: nothing."""
    stages: Mapping[str, Mapping[str, float]] = result["metrics"]
    return stages.get("finetuned", stages.get("pruned", {})).get(first_metric(result).key)


def first_metric(result: Mapping[str, Any]) -> Metric:
    """Return what a run is judged by."""
    return TASKS.get(result["task"])().metrics[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
