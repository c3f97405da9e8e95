"""How long and how a network is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from spa.training.schedule import Kind, Schedule

Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Budget:
    """How long and how a network is trained; the keys of conf/trainer/*.yaml.

    Attributes:
        schedule: see `spa.training.schedule.Schedule`, as for milestones, gamma and warmup.
        clip: largest gradient norm, or None.
    """

    epochs: Annotated[int, Field(ge=0)]
    batch: Annotated[int, Field(ge=1)]
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Finite = 0.1
    momentum: Finite = 0.9
    weight_decay: Finite = 5e-4
    schedule: Kind = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: Finite = 0.1
    warmup: Annotated[int, Field(ge=0)] = 0
    label_smoothing: Finite = 0.0
    clip: Finite | None = None

    def rates(self) -> Schedule:
        """Return the learning rates."""
        return Schedule(
            self.lr, self.epochs, self.schedule, self.milestones, self.gamma, self.warmup
        )

    def plain(self) -> dict[str, Any]:
        """Return the budget in plain JSON values."""
        return asdict(self) | {"milestones": list(self.milestones)}
