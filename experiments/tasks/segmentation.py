"""Segmentation: a label for every pixel; the first output is a map of class scores.

Scores are (N, C, H, W), labels (N, H, W); `IGNORED` ones, where nobody labelled, count for nothing.
"""

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

# Samples at a time; scores of 21 classes for 480x480 pixels are 19 MB each.
BATCH = 16


@TASKS.register("segmentation")
@dataclass(frozen=True)
class Segmentation:
    """Mean over classes of intersection over union; trained by cross-entropy.

    Both are counted over a whole split, and a class that is neither there nor answered is left out
    of the mean.
    """

    said: str = "mIoU is the mean over classes of intersection over union"
    metrics: tuple[Metric, ...] = (
        Metric("miou", "mean IoU", "mIoU", "more", unit="%", scale=100, digits=1),
    )

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """See `Task.loss`."""
        from torch.nn.functional import cross_entropy

        from spa.training.objective import IGNORED

        each = cross_entropy(
            outputs[0],
            targets,
            ignore_index=IGNORED,
            label_smoothing=smoothing,
            reduction="none",
        )  # (N, H, W)
        counts = (targets != IGNORED).sum((1, 2)).clamp_min(1)
        return (each.sum((1, 2)) / counts).sum()

    def guess(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """See `Task.guess`."""
        return outputs[0].argmax(1)

    def scores(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """See `Task.scores`."""
        return outputs[0].movedim(1, -1)

    def measure(self, predict: Predict, split: Split) -> dict[str, float]:
        """See `Task.measure`."""
        import torch

        from spa.bridge.torchvision_shim import import_torchvision

        import_torchvision()  # torchmetrics imports it, and a broken one breaks it
        from torchmetrics.classification import MulticlassJaccardIndex

        from spa.training.objective import IGNORED

        measured = None
        for inputs, targets in batches(split, BATCH):
            scores = predict(inputs)[0]
            if measured is None:
                measured = MulticlassJaccardIndex(scores.shape[1], ignore_index=IGNORED)
            measured.update(torch.from_numpy(scores.argmax(1)), torch.from_numpy(targets))
        if measured is None:
            raise InputError("segmentation is measured on pictures, but the split has none")
        return {"miou": float(measured.compute())}

    def fits(self, file: Interface, data: Dataset) -> None:
        """See `Task.fits`."""
        _, labels = data.test.take(np.arange(2))
        if labels.ndim != 3 or labels.dtype.kind not in "iu":
            raise InputError(
                f"segmentation needs a whole number a pixel, but the targets of {data.name} are "
                f"{labels.dtype} of shape {labels.shape[1:]}"
            )
        file.gives((data.classes, *labels.shape[1:]), data)
