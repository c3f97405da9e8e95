"""Learning rates over a training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from spa.errors import SettingError, unknown

Kind: TypeAlias = Literal["cosine", "multistep", "constant"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes from its first value on.

    Attributes:
        lr: the rate after warm-up.
        epochs: of the whole training.
        kind: ``cosine``, half a cosine to zero (Loshchilov and Hutter 2017, SGDR, eq. 5, without
            restarts); ``multistep``, times ``gamma`` at each of the ``milestones``; ``constant``.
        milestones: epochs, of ``multistep``.
        gamma: of ``multistep``.
        warmup: epochs in which the rate rises in a line, from not quite nothing (Goyal et al. 2017,
            2.2).

    Raises:
        SettingError: a number has no meaning.
    """

    lr: float
    epochs: int
    kind: Kind = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(unknown("schedule", self.kind, KINDS))
        if self.kind == "multistep" and not self.milestones:
            raise SettingError("A multistep schedule needs milestones: the epochs of its steps.")
        if min(self.milestones, default=1) < 1:
            raise SettingError(
                f"Milestones are epochs, 1 or more; {min(self.milestones)} was given."
            )
        if not 0 < self.gamma < math.inf:
            raise SettingError(
                f"The gamma of a schedule must be above 0 and finite; {self.gamma:g} was given."
            )
        if self.warmup < 0:
            raise SettingError(f"The warm-up must be 0 epochs or more; {self.warmup} was given.")

    def rate(self, epoch: float) -> float:
        """The rate at a point in time, measured in epochs from 0."""
        if epoch < self.warmup:
            return self.lr * (epoch + 0.1) / (self.warmup + 0.1)
        if self.kind == "cosine":
            done = (epoch - self.warmup) / max(self.epochs - self.warmup, 1e-9)
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        if self.kind == "multistep":
            return self.lr * self.gamma ** sum(epoch >= at for at in self.milestones)
        return self.lr
