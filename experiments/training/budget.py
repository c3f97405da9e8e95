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
        distill: weight of the dense network's answers in the loss (`spa.training.teacher`); 0 for
            none. Of fine-tuning alone.
        distill_temperature: by which scores are divided before they are compared.
        ema: decay of the running mean of the weights that a training ends with
            (`spa.training.hook.average`); 0 for the weights themselves.
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
    distill: Annotated[float, Field(ge=0, le=1)] = 0.0
    distill_temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def rates(self) -> Schedule:
        """Return the learning rates."""
        return Schedule(
            self.lr, self.epochs, self.schedule, self.milestones, self.gamma, self.warmup
        )

    def plain(self) -> dict[str, Any]:
        """Return the budget in plain JSON values, less what it does not use of later settings."""
        found = asdict(self) | {"milestones": list(self.milestones)}
        unused = [] if self.ema else ["ema"]
        if not self.distill:
            unused += ["distill", "distill_temperature"]
        for key in unused:  # earlier runs keep their ids
            del found[key]
        return found
