"""The measured columns of a table, and how one cell of them reads."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from experiments.tasks import TASKS, Metric
from experiments.times import TIMES

MISSING = "—"  # a run failed or is not there
NO_STAGE = "n/a"  # the stage does not exist at this time


@dataclass(frozen=True)
class Column:
    """One measured column: its heading, where the number comes from, how it is shown.

    Attributes:
        better: which values are better where methods are compared; None: neither, as for what
            was asked for or was there before. Times (``timed``) compare on one machine only.
        stage: of a metric: the stage whose file it is measured on.
        metric: the task's metric, in a column of one.
    """

    key: str
    heading: str
    get: Callable[[Mapping[str, Any]], float | None]
    scale: float = 1.0
    digits: int = 2
    better: Literal["more", "less"] | None = None
    timed: bool = False
    stage: str | None = None
    metric: Metric | None = None


# As they are called in headings.
STAGES = {"dense": "dense", "pruned": "pruned", "finetuned": "fine-tuned"}

# What is measured whatever the task.
COSTS = (
    Column("rf", "reached RF", lambda r: r["reached"]["rf"]),
    Column("rp", "reached RP", lambda r: r["reached"]["rp"]),
    Column("prune_seconds", "prune s", lambda r: r["prune_seconds"], better="less", timed=True),
    Column("latency_dense_ms", "dense ms", lambda r: r["latency_ms"]["dense"], timed=True),
    Column(
        *("latency_pruned_ms", "pruned ms", lambda r: r["latency_ms"]["pruned"]),
        better="less",
        timed=True,
    ),
)


def columns(tasks: Iterable[str]) -> tuple[Column, ...]:
    """List the columns of a table: a column for each metric of its tasks and stage, then costs."""
    metrics = dict.fromkeys(metric for task in tasks for metric in TASKS.get(task)().metrics)
    return (*(_column(metric, stage) for metric in metrics for stage in STAGES), *COSTS)


@cache
def _column(metric: Metric, stage: str) -> Column:
    return Column(
        f"{metric.key}_{stage}",
        f"{STAGES[stage]} {metric.heading}",
        lambda r: r["metrics"].get(stage, {}).get(metric.key),
        metric.scale,
        metric.digits,
        None if stage == "dense" else metric.better,
        stage=stage,
        metric=metric,
    )


@dataclass(frozen=True)
class Cell:
    """The mean over the seeds that have a value.

    Attributes:
        mean: None when no seed has one.
        std: sample standard deviation; None with fewer than two values.
        n: how many values.
        exists: False when the stage does not exist, so that nothing is missing.
    """

    mean: float | None
    std: float | None
    n: int
    exists: bool = True


def summarise(values: Iterable[float | None], exists: bool = True) -> Cell:
    """Average what is there."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    if not there:
        return Cell(None, None, 0, exists)
    std = statistics.stdev(there) if len(there) > 1 else None
    return Cell(statistics.fmean(there), std, len(there))


def show(column: Column, cell: Cell) -> str:
    """Format one cell."""
    if cell.mean is None:
        return MISSING if cell.exists else NO_STAGE
    text = f"{cell.mean * column.scale:.{column.digits}f}"
    if cell.std is not None:
        text += f" ± {cell.std * column.scale:.{column.digits}f}"
    return text


def exists(column: Column, time: str) -> bool:
    """Whether a time has the stage that a column measures."""
    return column.stage != "finetuned" or time not in TIMES or TIMES[time].then is not None
