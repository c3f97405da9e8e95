"""What a training makes small, and what it shows of the answers meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

# Targets that count for nothing: padding, and what nobody labelled. torch's own number for it.
IGNORED = -100

Outputs: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True)
class Objective:
    """What is trained for.

    Attributes:
        loss: of a network's outputs and a batch's targets; summed over samples.
        guess: a network's answers, of the targets' shape; None where answers are neither right nor
            wrong.
        scores: a network's scores of classes, (N, ..., classes) for targets (N, ...): what a
            distillation compares. None where answers are no classes.
    """

    loss: Callable[[Outputs, Tensor], Tensor]
    guess: Callable[[Outputs], Tensor] | None = None
    scores: Callable[[Outputs], Tensor] | None = None

    def right(self, outputs: Outputs, targets: Tensor) -> float:
        """Summed over samples, the share of a sample's targets that are guessed; 0 without guesses.

        Targets are whole numbers (N, ...); `IGNORED` ones do not count.
        """
        if self.guess is None:
            return 0.0
        with torch.no_grad():
            counts = (targets != IGNORED).reshape(len(targets), -1)
            hits = (self.guess(outputs) == targets).reshape(len(targets), -1) & counts
            return float((hits.sum(1) / counts.sum(1).clamp_min(1)).sum())


def labels(smoothing: float = 0.0) -> Objective:
    """Cross-entropy of the first output, class scores (N, classes), and labels (N,).

    Args:
        smoothing: share of a label that all classes get alike.
    """

    def loss(outputs: Outputs, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            outputs[0], targets, label_smoothing=smoothing, reduction="sum"
        )

    return Objective(loss, lambda outputs: outputs[0].argmax(1), lambda outputs: outputs[0])


def everything(output: Any) -> Outputs:
    """A network's outputs, whether it gives one or several."""
    return tuple(output) if isinstance(output, (tuple, list)) else (output,)
