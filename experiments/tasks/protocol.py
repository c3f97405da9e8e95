"""What a task is: which numbers say how well a network answers, and how they are measured.

    @dataclass(frozen=True)
    class Guessing:
        said = "Hits are right guesses"
        metrics = (Metric("hits", "hits", "hits", better="more"),)

        def measure(self, predict: Predict, split: Split) -> dict[str, float]: ...

    TASKS.register("guessing")(Guessing)

A data set names its task; tables, figures and records take what the task's metrics say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy.typing as npt

from experiments.data.base import Inputs, Split
from experiments.ground.registry import Registry

Array = npt.NDArray[Any]
# All outputs of a network for inputs (N, ...) by name.
Predict = Callable[[Inputs], list[Array]]


@dataclass(frozen=True)
class Metric:
    """One number that says how well a network answers.

    Attributes:
        key: in records and in the names of a table's columns.
        name: in full, as ``accuracy``.
        short: in a table's heads, as ``acc.``.
        better: which values are better.
        unit: after a number, as ``%``; "" for none.
        scale: what a measured value is multiplied with to be in that unit.
        digits: after the point, in tables.
    """

    key: str
    name: str
    short: str
    better: Literal["more", "less"]
    unit: str = ""
    scale: float = 1.0
    digits: int = 2

    @property
    def heading(self) -> str:
        """The head of a column."""
        return f"{self.short} {self.unit}".rstrip()

    def show(self, value: float) -> str:
        """Format a measured value with its unit."""
        return f"{value * self.scale:.{self.digits}f}{self.unit}"


class Task(Protocol):
    """What is asked of networks.

    Attributes:
        metrics: the first one is what figures show.
        said: what the numbers are, before "on the test split" in a table's notes.
    """

    @property
    def said(self) -> str:
        """What the numbers are."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every number that `measure` gives, by its key."""
        ...

    def measure(self, predict: Predict, split: Split) -> dict[str, float]:
        """Measure a network on a split; a number for every metric, by its key."""
        ...


TASKS: Registry[Callable[[], Task]] = Registry("task", package="experiments.tasks")
