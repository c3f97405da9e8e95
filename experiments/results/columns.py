"""The measured columns of a table, and how one cell of them reads."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from experiments.times import TIMES

MISSING = "—"  # a run failed or is not there
NO_STAGE = "n/a"  # the stage does not exist at this time


@dataclass(frozen=True)
class Column:
    """One measured column: its heading, where the number comes from, how it is shown.

    Attributes:
        better: which values are better where methods are compared; None: neither, as for what
            was asked for or was there before. Times (``timed``) compare on one machine only.
    """

    key: str
    heading: str
    get: Callable[[Mapping[str, Any]], float | None]
    scale: float = 1.0
    digits: int = 2
    better: Literal["more", "less"] | None = None
    timed: bool = False


COLUMNS = (
    Column("acc_dense", "dense acc. %", lambda r: r["acc"]["dense"], 100, 1),
    Column("acc_pruned", "pruned acc. %", lambda r: r["acc"]["pruned"], 100, 1, "more"),
    Column("acc_finetuned", "fine-tuned acc. %", lambda r: r["acc"]["finetuned"], 100, 1, "more"),
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
    return column.key != "acc_finetuned" or time not in TIMES or TIMES[time].then is not None
