"""Knowledge distillation: a network learns from another one's answers, not from targets alone.

Source: Hinton et al. 2015, Distilling the Knowledge in a Neural Network, 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from spa.errors import SettingError
from spa.training.objective import IGNORED, Objective, Outputs, everything


@dataclass(frozen=True)
class Teacher:
    """A network that another one learns from. It is run as it is: in eval mode, without gradients.

    Attributes:
        net: takes what the other one takes, in the same order, and gives scores of as many classes.
        weight: of its answers in the loss; targets have the rest.
        temperature: by which both networks' scores are divided before they are compared.

    Raises:
        SettingError: a number has no meaning.
    """

    net: nn.Module
    weight: float = 0.5
    temperature: float = 4.0

    def __post_init__(self) -> None:
        check(self.weight, self.temperature)
        self.net.eval().requires_grad_(False)

    def loss(
        self, objective: Objective, inputs: Sequence[Tensor], outputs: Outputs, targets: Tensor
    ) -> Tensor:
        """The loss of a batch: (1 - weight) * objective + weight * comparison with the teacher.

        Args:
            objective: what is trained for; its `scores` are compared.
            inputs: of both networks, (N, ...) each.
            outputs: of the one that learns.
            targets: (N, ...); where they are `IGNORED`, answers are not compared either.

        Returns:
            a number, summed over the N samples; of a sample the mean over its targets, as the
            objective's own is.
        """
        assert objective.scores is not None
        with torch.no_grad():
            theirs = objective.scores(everything(self.net(*inputs)))
        apart = divergence(objective.scores(outputs), theirs, self.temperature)
        counts = (targets != IGNORED).reshape(len(targets), -1)
        each = apart.reshape(len(targets), -1).masked_fill(~counts, 0).sum(1)
        soft = (each / counts.sum(1).clamp_min(1)).sum()
        return (1 - self.weight) * objective.loss(outputs, targets) + self.weight * soft


def divergence(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(wanted / T) || softmax(scores / T)).

    Its gradient is that of the paper's cross-entropy with soft targets, which differs by what the
    teacher alone decides; T^2 keeps it as large as that of the hard targets, whatever T.

    Args:
        scores: of the network that learns, (..., classes).
        wanted: of the teacher, of the same shape.
        temperature: T.

    Returns:
        of the shape (...).
    """
    mine, theirs = (log_softmax(each / temperature, -1) for each in (scores, wanted))
    return kl_div(mine, theirs, reduction="none", log_target=True).sum(-1) * temperature**2


def check(weight: float, temperature: float) -> None:
    """Checks the settings of a distillation; a weight of 0 is for none.

    Raises:
        SettingError: a number has no meaning.
    """
    if not 0 <= weight <= 1:
        raise SettingError(
            f"The weight of a distillation is from 0, for none, to 1; {weight:g} was given."
        )
    if not 0 < temperature < math.inf:
        raise SettingError(
            f"The temperature of a distillation must be above 0 and finite; {temperature:g} was "
            "given."
        )
