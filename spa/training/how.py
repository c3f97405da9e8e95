"""How to train, whatever trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Takes one dict an epoch: epoch, loss, accuracy (of the training batches), lr.
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Training:
    """How to train; learning rates and epochs come with the feed.

    Attributes:
        optimizer: ``sgd`` or ``adamw``.
        momentum: of sgd.
        weight_decay: of all weights.
        label_smoothing: share of the label that all classes get alike.
        clip: largest norm of all gradients together; None for no limit.
    """

    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    clip: float | None = None
