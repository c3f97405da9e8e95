"""DepGraph's group norm: the mean over a coupled set's members of sum |w|^p, without the root.

Rows of producers, columns of consumers and scales of norms are members; biases and shifts are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa.errors import SettingError
from spa.graph.model import Array
from spa.importance.criterion import criterion
from spa.importance.values import EachTime, Elements
from spa.importance.view import View


@dataclass(frozen=True)
class GroupNorm:
    """Options of the group norm.

    Attributes:
        p: the exponent.
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        if self.p <= 0:
            raise SettingError(f"Criterion group_norm: option p is over 0; {self.p:g} was given.")


@criterion(
    source="Fang et al. 2023, DepGraph; as Torch-Pruning 1.6 computes it (GroupMagnitude)",
    aggregate="mean",
)
def group_norm(view: View, how: GroupNorm) -> Elements:
    """Scores every weight element by its power; a group is divided by its mean."""

    def scores(name: str) -> Array:
        return np.abs(view.model.numbers(name).astype(np.float64)) ** how.p

    return Elements(EachTime(view.model.counted_parameters, scores), shifts=False)
