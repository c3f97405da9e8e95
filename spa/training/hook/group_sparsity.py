"""Group sparsity: coupled sets are pulled to zero together, the weak ones harder.

Source: Fang et al. 2023, DepGraph, 3.4: R = sum_k gamma_k I_k, I_k the squared norm of a coupled
set, gamma_k = 2^(alpha (I_max - I_k) / (I_max - I_min)). That is a weighted L2; `lasso` takes norms
for their squares, so that sets become zero and not only small.

The authors' code (Torch-Pruning's GroupNormPruner) skips groups whose sets are all alike, ignores
its setting alpha, and in grouped convolutions gives later members a shortened gamma. Here the first
are all pulled alike, by gamma 1; alpha counts; and each member's own indices say what is a set's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spa.errors import SettingError
from spa.training.hooks import Hook, Moment, hook

# Under the root: the gradient of a set that is zero is zero, and no 0 / 0.
TINY = 1e-12


@hook("group_sparsity")
class GroupSparsity(Hook):
    """Adds strength * sum_k gamma_k * |w_k|^2 / 2 over all coupled sets, or |w_k| with `lasso`.

    So gradients get strength * gamma_k * w, as in the authors' code, or strength * gamma_k * w /
    |w_k|. The gammas are of the roots of I, as there, and anew in every step; gradients do not go
    through them. Biases and shifts belong to a set (ours; there they are left out).

    Args:
        strength: of the penalty; 5e-4 in the authors' script.
        alpha: how much harder the weakest set of a group is pulled than the strongest: 2^alpha.
        lasso: whether norms are penalised, and not their squares.
    """

    def __init__(self, strength: float = 5e-4, alpha: float = 4.0, lasso: bool = False) -> None:
        if not 0 < strength < math.inf:
            raise SettingError(
                f"Group sparsity: strength is above 0 and finite; {strength:g} was given."
            )
        if not 0 <= alpha < math.inf:
            raise SettingError(f"Group sparsity: alpha is 0 or more; {alpha:g} was given.")
        self.strength, self.alpha, self.lasso = strength, alpha, lasso

    def penalty(self, at: Moment) -> Tensor | float:
        """Added to the mean loss of every batch."""
        found: Tensor | float = 0.0
        for squares in at.norms().values():
            size = (squares + TINY).sqrt() if self.lasso else squares / 2
            found = found + (gammas(squares.detach().sqrt(), self.alpha) * size).sum()
        return self.strength * found


def gammas(norms: Tensor, alpha: float) -> Tensor:
    """2^(alpha (max - norm) / (max - min)), from 1 to 2^alpha; 1 where all norms are alike.

    Args:
        norms: of the sets of a group, (channels,).
        alpha: see `GroupSparsity`.

    Returns:
        of the same shape.
    """
    low, high = norms.min(), norms.max()
    span = high - low
    return torch.where(span > 0, 2 ** (alpha * (high - norms) / span), 1.0)
