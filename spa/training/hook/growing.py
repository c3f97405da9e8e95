"""Growing regularisation: what is to go is pulled to zero, ever harder, before it goes.

Source: Wang et al. 2021, Neural Pruning via Growing Regularization, GReg-1 (3.2, algorithm 1). Ours
pulls whole coupled sets, and can grow to its ceiling within any number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spa.errors import SettingError
from spa.training.hooks import Hook, Moment, hook

# Of all steps, in how many the pull grows, where no step's growth is given; then it stays.
GROWN = 0.8


@hook("growing")
class Growing(Hook):
    """Adds pull * w to the gradient of every weight that goes; pull grows every so many steps.

    All members of a coupled set count, biases and shifts too: they go with it. A weight that goes
    by its row and by its column is pulled once.

    Args:
        chosen: by group's number, the channels that are to go. Where left out, the ``share`` of
            every group that has the smallest norms as the training begins.
        share: of channels, in [0, 1).
        ceiling: where the pull ends; 1 in the paper.
        every: steps between two growths; 5 in the paper on ImageNet, 10 on CIFAR.
        delta: by which the pull grows; 1e-4 in the paper. Where left out, as much as takes it to
            the ceiling in four fifths of the training.
    """

    def __init__(
        self,
        chosen: Mapping[str, Sequence[int]] | None = None,
        share: float = 0.5,
        ceiling: float = 1.0,
        every: int = 5,
        delta: float | None = None,
    ) -> None:
        if not 0 <= share < 1:
            raise SettingError(f"Growing: share is in [0, 1); {share:g} was given.")
        if every < 1:
            raise SettingError(f"Growing: every is 1 step or more; {every} was given.")
        for name, value in (("ceiling", ceiling), ("delta", delta)):
            if value is not None and not 0 < value < math.inf:
                raise SettingError(f"Growing: {name} is above 0 and finite; {value:g} was given.")
        self.chosen = None if chosen is None else {int(k): list(v) for k, v in chosen.items()}
        self.share, self.ceiling, self.every, self.delta = share, ceiling, every, delta
        self.masks: dict[str, Tensor] = {}

    def begin(self, at: Moment) -> None:
        """Chooses, if nothing was chosen yet; finds the weights that go."""
        if self.chosen is None:
            self.chosen = {number: _smallest(n, self.share) for number, n in at.norms().items()}
        self.masks = _masks(at, self.chosen)

    def pull(self, at: Moment) -> float:
        """How hard it is in this step."""
        delta = self.delta
        if delta is None:
            delta = self.ceiling / math.ceil(max(GROWN * at.epochs * at.steps / self.every, 1))
        return min(self.ceiling, delta * (1 + (at.epoch * at.steps + at.step) // self.every))

    def gradients(self, at: Moment) -> None:
        """After backward."""
        weights, pull = at.weights(), self.pull(at)
        for name, mask in self.masks.items():
            weight = weights[name]
            if weight.grad is not None:
                weight.grad.add_(weight.detach() * mask, alpha=pull)

    def state(self) -> dict[str, Any]:
        """What was chosen; weights have changed since."""
        return {"chosen": self.chosen}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.chosen = state["chosen"]


def _smallest(norms: Tensor, share: float) -> list[int]:
    """Of squared norms (channels,), the numbers of so many of the smallest."""
    order = norms.detach().argsort(stable=True)[: int(share * len(norms))]
    return sorted(int(number) for number in order)


def _masks(at: Moment, chosen: Mapping[int, Iterable[int]]) -> dict[str, Tensor]:
    """By parameter, of its shape, where it belongs to a set that was chosen."""
    if at.groups is None:
        raise SettingError("Growing needs coupled sets; give the training the file's groups.")
    channels_of = {group.id: group.channels for group in at.groups.groups}
    for number, some in chosen.items():
        if not all(0 <= channel < channels_of.get(number, 0) for channel in some):
            raise SettingError(
                f"Growing: of group {number}, channels {list(some)} are chosen, and there is no "
                f"such; it has {channels_of.get(number, 0)}."
            )
    weights = at.weights()
    found: dict[str, Tensor] = {}
    for group in at.groups.groups:
        channels = np.array(sorted(chosen.get(group.id, ())), dtype=np.int64)
        if not channels.size:
            continue
        for member in group.members:
            weight = weights.get(member.name)
            if weight is None:
                continue
            mask = found.setdefault(member.name, torch.zeros_like(weight, dtype=torch.bool))
            # (channels, multiplicity): a flatten's consumer has several columns of a channel.
            index = torch.from_numpy(np.array(member.indices)[channels].ravel()).to(weight.device)
            mask.index_fill_(member.axis.axis, index, True)
    return found
