"""Language modelling: the next token after every token; how sure a network is of the right one.

The first output is (N, T, V), scores of V tokens; targets are (N, T), each place's next token.
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

# Samples at a time.
BATCH = 64


@TASKS.register("perplexity")
@dataclass(frozen=True)
class Perplexity:
    """Exponential of the mean negative log likelihood of a token; trained by cross-entropy."""

    said: str = "Perplexities are of the next token"
    metrics: tuple[Metric, ...] = (Metric("ppl", "perplexity", "ppl.", "less"),)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """See `Task.loss`."""
        from torch.nn.functional import cross_entropy

        from spa.training.objective import IGNORED

        each = cross_entropy(
            outputs[0].transpose(1, 2),  # (N, V, T)
            targets,
            ignore_index=IGNORED,
            label_smoothing=smoothing,
            reduction="none",
        )
        counts = (targets != IGNORED).sum(1).clamp_min(1)
        return (each.sum(1) / counts).sum()

    def guess(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """See `Task.guess`."""
        return outputs[0].argmax(2)

    def scores(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """See `Task.scores`."""
        return outputs[0]

    def measure(self, predict: Predict, split: Split) -> dict[str, float]:
        """See `Task.measure`."""
        import torch

        from spa.bridge.torchvision_shim import import_torchvision

        import_torchvision()  # torchmetrics imports it, and a broken one breaks it
        from torchmetrics.text import Perplexity as Measured

        from spa.training.objective import IGNORED

        # In double precision a hopeless network has a perplexity too, and no infinite one.
        measured = Measured(ignore_index=IGNORED).set_dtype(torch.float64)
        for inputs, targets in batches(split, BATCH):
            scores = torch.from_numpy(predict(inputs)[0]).double()
            measured.update(scores, torch.from_numpy(targets))
        return {"ppl": float(measured.compute())}

    def fits(self, file: Interface, data: Dataset) -> None:
        """See `Task.fits`."""
        _, targets = data.test.take(np.arange(2))
        if targets.ndim != 2 or targets.dtype.kind not in "iu":
            raise InputError(
                f"perplexity needs a row of tokens a sample, but the targets of {data.name} are "
                f"{targets.dtype} of shape {targets.shape[1:]}"
            )
        file.gives((targets.shape[1], data.classes), data)
