"""When a network is pruned: on which weights, and what is trained afterwards. Data, not branches.

name                   plan made on     then
prune_train            init.onnx        trained with the dense network's own budget
train_prune_finetune   dense.onnx       fine-tuned
train_prune            dense.onnx       nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Time:
    """A place of pruning in the life of a network.

    Attributes:
        plan_on: the file that is pruned: ``init``, before training, or ``dense``, after it.
        then: the part of the trainer's budget that the pruned network is trained with; None for
            no training.
    """

    name: str
    plan_on: Literal["init", "dense"]
    then: Literal["train", "finetune"] | None

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
    )
}
