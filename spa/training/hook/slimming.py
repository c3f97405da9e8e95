"""Network slimming: an L1 penalty on the scales of batch norms, by its subgradient.

Source: Liu et al. 2017, Network Slimming, 3 (as in the authors' code: added to the gradients).
"""

from __future__ import annotations

import torch

from spa.errors import SettingError
from spa.training.hooks import Hook, Moment, hook


@hook("slimming")
class Slimming(Hook):
    """Adds strength * sign(gamma) to the gradients of all batch norms' scales.

    Args:
        strength: of the penalty; 1e-4 in the paper for VGG, 1e-5 for ResNets and DenseNets.
    """

    def __init__(self, strength: float = 1e-4) -> None:
        self.strength = strength

    def begin(self, at: Moment) -> None:
        """Finds out whether there is something to make sparse."""
        if not at.scales():
            raise SettingError("Slimming needs batch norms, and this network has none.")

    def gradients(self, at: Moment) -> None:
        """After backward."""
        for scale in at.scales():
            if scale.grad is not None:
                scale.grad.add_(torch.sign(scale.detach()), alpha=self.strength)
