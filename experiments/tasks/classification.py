"""Classification: one label for every sample; the first output is a row of class scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.data.base import Dataset, Split, batches
from experiments.tasks.interface import Interface
from experiments.tasks.protocol import TASKS, Metric, Predict
from spa.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Samples at a time.
BATCH = 256


@TASKS.register("classification")
@dataclass(frozen=True)
class Classification:
    """Top-1 accuracy, a fraction; trained by cross-entropy."""

    said: str = "Accuracies are top-1"
    metrics: tuple[Metric, ...] = (
        Metric("acc", "accuracy", "acc.", "more", unit="%", scale=100, digits=1),
    )

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """See `Task.loss`; scores (N, classes), labels (N,)."""
        from spa.training.objective import labels

        return labels(smoothing).loss(outputs, targets)

    def guess(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """See `Task.guess`."""
        return outputs[0].argmax(1)

    def scores(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """See `Task.scores`."""
        return outputs[0]

    def measure(self, predict: Predict, split: Split) -> dict[str, float]:
        """See `Task.measure`."""
        correct = 0
        for x, y in batches(split, BATCH):
            correct += int((predict(x)[0].argmax(axis=1) == y).sum())
        return {"acc": correct / len(split)}

    def fits(self, file: Interface, data: Dataset) -> None:
        """See `Task.fits`."""
        _, labels = data.test.take(np.arange(2))
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError(
                f"classification needs a whole number a sample, but the targets of {data.name} are "
                f"{labels.dtype} of shape {labels.shape[1:]}"
            )
        file.gives((data.classes,), data)
