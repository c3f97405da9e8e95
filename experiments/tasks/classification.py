"""Classification: one label for every sample; the first output is a row of class scores."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.data.base import Split, batches
from experiments.tasks.protocol import TASKS, Metric, Predict

# Samples at a time.
BATCH = 256


@TASKS.register("classification")
@dataclass(frozen=True)
class Classification:
    """Top-1 accuracy, a fraction."""

    said: str = "Accuracies are top-1"
    metrics: tuple[Metric, ...] = (
        Metric("acc", "accuracy", "acc.", "more", unit="%", scale=100, digits=1),
    )

    def measure(self, predict: Predict, split: Split) -> dict[str, float]:
        """See `Task.measure`."""
        correct = 0
        for x, y in batches(split, BATCH):
            correct += int((predict(x)[0].argmax(axis=1) == y).sum())
        return {"acc": correct / len(split)}
