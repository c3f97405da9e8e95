"""How to train, whatever trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spa.errors import SettingError
from spa.training.schedule import Kind, Schedule

# Of fine-tuning.
WEIGHT_DECAY, CLIP = 1e-4, 1.0
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


@dataclass(frozen=True)
class Tuning:
    """How long, how fast and by what a model is fine-tuned.

    Attributes:
        epochs: how often all of the data is seen.
        lr: the first learning rate; it falls along half a cosine, if ``schedule`` says no other.
        batch: samples in a step; a batch size that the file fixes goes before.
        schedule: see `spa.training.schedule.Schedule`, as for the next three.
        milestones: epochs at which the rate is multiplied, of ``multistep``.
        gamma: by this.
        warmup: epochs in which the rate rises.
        label_smoothing: share of a label that all classes get alike.
        distill: weight of the dense model's answers in the loss; 0 for none
            (`spa.training.teacher`).
        distill_temperature: by which scores are divided before they are compared.
        ema: decay of the running mean of the weights that the training ends with; 0 for the
            weights themselves (`spa.training.hook.average`).

    Raises:
        SettingError: a number has no meaning.
    """

    epochs: int = 10
    lr: float = 1e-3
    batch: int = 32
    schedule: Kind = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup: int = 0
    label_smoothing: float = 0.0
    distill: float = 0.0
    distill_temperature: float = 4.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise SettingError(
                    f"The {name} of fine-tuning must be 1 or more; {getattr(self, name)} was given."
                )
        for name in ("lr", "distill_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                what = "learning rate" if name == "lr" else name
                raise SettingError(
                    f"The {what} of fine-tuning must be above 0 and finite; "
                    f"{getattr(self, name):g} was given."
                )
        for name in ("label_smoothing", "distill"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(
                    f"The {name} of fine-tuning is from 0 to 1; {getattr(self, name):g} was given."
                )
        if not 0 <= self.ema < 1:
            raise SettingError(
                f"The ema of fine-tuning is from 0 to below 1; {self.ema:g} was given."
            )
        self.rates()  # what is wrong there is said here

    def rates(self) -> Schedule:
        """The learning rates."""
        return Schedule(
            self.lr, self.epochs, self.schedule, self.milestones, self.gamma, self.warmup
        )

    def training(self) -> Training:
        """How the loop trains."""
        return Training(
            "adamw",
            weight_decay=WEIGHT_DECAY,
            label_smoothing=self.label_smoothing,
            clip=CLIP,
        )
