"""Weight averaging: what a training ends with is a running mean of the weights on its way.

Source: Polyak and Juditsky 1992; as an exponential mean, with the decay's own warm-up, as in
TensorFlow's ExponentialMovingAverage(num_updates).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spa.errors import SettingError
from spa.training.hooks import Hook, Moment, hook


@hook("average")
class Average(Hook):
    """After step n, from 0, mean = d * mean + (1 - d) * weights; d is min(decay, (1 + n)/(10 + n)).

    The statistics of batch norms are averaged as well, as they are those of the weights; whole
    numbers are taken as they stand. In a team every process has the same mean of the weights; that
    of statistics, as the statistics themselves, is each one's own, and the leader's counts.

    Args:
        decay: d of a long training; the mean then holds about 1 / (1 - decay) steps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise SettingError(
                f"The decay of averaged weights is from 0 to below 1; {decay:g} was given."
            )
        self.decay, self.steps = decay, 0
        self.mean: dict[str, Tensor] = {}

    def begin(self, at: Moment) -> None:
        """Starts from the network's weights; a mean that was restored goes to where they are."""
        weights = at.net.state_dict()
        kept = self.mean or weights
        self.mean = {k: kept[k].to(v.device, copy=True) for k, v in weights.items()}

    @torch.no_grad()
    def stepped(self, at: Moment) -> None:
        """After the step, and what other hooks did then."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, now in at.net.state_dict().items():
            if now.is_floating_point():
                self.mean[name].lerp_(now, 1 - decay)
            else:
                self.mean[name].copy_(now)
        self.steps += 1

    def end(self, at: Moment) -> None:
        """The network ends with the mean."""
        at.net.load_state_dict(self.mean)

    def state(self) -> dict[str, Any]:
        """The mean, and of how many steps it is."""
        return {"mean": self.mean, "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.mean, self.steps = state["mean"], state["steps"]
