"""How long and how a network is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Budget:
    """How long and how a network is trained; the keys of conf/trainer/*.yaml.

    Attributes:
        schedule: ``cosine`` to zero, ``multistep`` (times ``gamma`` at ``milestones``) or
            ``constant``; per epoch, cosine per step.
        warmup: epochs of linear warm-up.
        clip: largest gradient norm, or None.
    """

    epochs: Annotated[int, Field(ge=0)]
    batch: Annotated[int, Field(ge=1)]
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Finite = 0.1
    momentum: Finite = 0.9
    weight_decay: Finite = 5e-4
    schedule: Literal["cosine", "multistep", "constant"] = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: Finite = 0.1
    warmup: Annotated[int, Field(ge=0)] = 0
    label_smoothing: Finite = 0.0
    clip: Finite | None = None

    def plain(self) -> dict[str, Any]:
        """Return the budget in plain JSON values."""
        return asdict(self) | {"milestones": list(self.milestones)}
