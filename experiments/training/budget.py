"""How long and how a network is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """How long and how a network is trained; the keys of conf/trainer/*.yaml.

    Attributes:
        schedule: ``cosine`` to zero, ``multistep`` (times ``gamma`` at ``milestones``) or
            ``constant``; per epoch, cosine per step.
        warmup: epochs of linear warm-up.
        clip: largest gradient norm, or None.
    """

    epochs: int
    batch: int
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup: int = 0
    label_smoothing: float = 0.0
    clip: float | None = None
