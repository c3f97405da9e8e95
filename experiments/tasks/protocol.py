"""What a task is: what networks are trained for, and which numbers say how well they answer.

    @TASKS.register("guessing")
    @dataclass(frozen=True)
    class Guessing:
        said = "Hits are right guesses"
        metrics = (Metric("hits", "hits", "hits", better="more"),)

        def loss(self, outputs: Outputs, targets: Tensor, smoothing: float = 0.0) -> Tensor: ...
        def guess(self, outputs: Outputs) -> Tensor: ...
        def scores(self, outputs: Outputs) -> Tensor: ...
        def measure(self, predict: Predict, split: Split) -> dict[str, float]: ...
        def fits(self, file: Interface, data: Dataset) -> None: ...

A data set names its task. Trainings, and criteria with gradients, make its loss small; tables,
figures and records take what its metrics say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from experiments.data.base import Dataset, Inputs, Split
from experiments.ground.registry import Registry
from experiments.tasks.interface import Interface
from spa.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

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
        said: what the numbers are, before "on the test split" or the like in a table's notes.
        guess: gives a network's own answers, of the targets' shape, from its outputs: for the
            accuracy that a training shows, and for the loss on noise. None where there are none
            that are right or wrong.
        scores: gives, from a network's outputs, scores of classes with one axis, the last, more
            than the targets have: what a distillation compares. None where answers are no classes.
    """

    @property
    def said(self) -> str:
        """What the numbers are."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every number that `measure` gives, by its key."""
        ...

    @property
    def guess(self) -> Callable[[tuple[Tensor, ...]], Tensor] | None:
        """See the class."""
        ...

    @property
    def scores(self) -> Callable[[tuple[Tensor, ...]], Tensor] | None:
        """See the class."""
        ...

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """What is made small.

        Args:
            outputs: of a network, (N, ...) each.
            targets: (N, ...); `spa.training.objective.IGNORED` ones count for nothing.
            smoothing: the budget's label smoothing, of tasks with labels.

        Returns:
            a number, summed over the N samples; of a sample the mean over its targets.
        """
        ...

    def measure(self, predict: Predict, split: Split) -> dict[str, float]:
        """Measure a network on a split; a number for every metric, by its key."""
        ...

    def fits(self, file: Interface, data: Dataset) -> None:
        """Check that a network's outputs and a data set's targets are what the task is about.

        Raises:
            InputError: they are not; the message names both sizes.
        """
        ...


TASKS: Registry[Callable[[], Task]] = Registry("task", package="experiments.tasks")


def task_of(data: Dataset) -> Task:
    """Return the task that a data set names."""
    return TASKS.get(data.task)()


def loss_of_arrays(data: Dataset) -> Callable[[tuple[Tensor, ...], Any], Tensor]:
    """Return a data set's loss as criteria take it; its name is the task's.

    Targets are arrays. Where there are none, as with noise, a network's own answers are taken.
    """
    task = task_of(data)

    def loss(outputs: tuple[Tensor, ...], targets: Any) -> Tensor:
        import torch

        if targets is not None:
            wanted = torch.from_numpy(np.array(targets)).to(outputs[0].device)
        elif task.guess is not None:
            wanted = task.guess(outputs).detach()
        else:
            raise SettingError(
                f"{data.task} has no answers that a network could take for its own, so there is no "
                "loss without targets; use criterion_data=train"
            )
        return task.loss(outputs, wanted)

    loss.__name__ = data.task
    return loss
