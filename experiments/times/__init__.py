"""When a network is pruned: on which weights, and what is trained afterwards. Data, not branches.

name                   plan made on     then
prune_train            init.onnx        trained with the dense network's own budget
train_prune_finetune   dense.onnx       fine-tuned
train_prune            dense.onnx       nothing
iterative              dense.onnx       pruned and trained by turns to the target, then fine-tuned
scratch                dense.onnx       its shape alone stays: trained from fresh weights (`Drawn`)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass(frozen=True)
class Once:
    """Of a time that prunes once: a single round, and nothing to set."""

    @property
    def steps(self) -> int:
        """See `Rounds`."""
        return 1

    @property
    def epochs(self) -> int:
        """See `Rounds`."""
        return 0


@dataclass(frozen=True)
class Drawn(Once):
    """How a pruned shape is trained from fresh weights; ``time.budget=flops``.

    Attributes:
        budget: the dense network's own ``epochs``, or as many epochs as have its ``flops``: times
            what the target reached (Scratch-E and Scratch-B of Liu et al. 2019, "Rethinking the
            value of network pruning", without their cap).
    """

    budget: Literal["epochs", "flops"] = "epochs"


@dataclass(frozen=True)
class Rounds:
    """How a network is pruned and trained by turns; ``time.steps=5 time.epochs=1``.

    Attributes:
        steps: how often it is pruned, by equal factors (of a ratio, by equal shares).
        epochs: of training after every pruning but the last, by the trainer's fine-tuning.
    """

    steps: Annotated[int, Field(ge=1)] = 3
    epochs: Annotated[int, Field(ge=1)] = 2


@dataclass(frozen=True)
class Time:
    """A place of pruning in the life of a network.

    Attributes:
        plan_on: the file that is pruned: ``init``, before training, or ``dense``, after it.
        then: the part of the trainer's budget that the pruned network is trained with; None for
            no training.
        settings: the dataclass of its own settings.
        draws: whether the pruned network is given fresh weights before it is trained.
    """

    name: str
    plan_on: Literal["init", "dense"]
    then: Literal["train", "finetune"] | None
    settings: type[Once] | type[Rounds] = Once
    draws: bool = False

    @property
    def fresh(self) -> bool:
        """Whether weights are pruned that nobody has trained, which label by chance."""
        return self.plan_on == "init"


# In the order in which tables have them.
TIMES: dict[str, Time] = {
    time.name: time
    for time in (
        Time("prune_train", "init", "train"),
        Time("train_prune_finetune", "dense", "finetune"),
        Time("train_prune", "dense", None),
        Time("iterative", "dense", "finetune", Rounds),
        Time("scratch", "dense", "train", Drawn, draws=True),
    )
}
