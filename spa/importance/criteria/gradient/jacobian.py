"""Optimal Brain Connection's Jacobian criterion: Taylor that keeps interactions within a member.

J is the gradient of a mini-batch's loss. A member's change of the loss is J's dot product with all
of the channel's weights there (rows with their bias; a norm's scale and shift; a consumer's
columns), squared, so that weights that only matter together count together. Squares are averaged
over mini-batches and summed over the members of the coupled set.

Norms must take their stored statistics: by a batch's own, the loss does not change when a filter in
front of one is scaled, and every dot product there is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa.coupling.groups import Group
from spa.errors import SettingError
from spa.importance.criterion import Need, criterion
from spa.importance.fold import Fold
from spa.importance.gates import Slices
from spa.importance.shifts import reads
from spa.importance.values import Channels, Elements, Values
from spa.importance.view import View


@dataclass(frozen=True)
class Jacobian:
    """Options of the Jacobian criterion.

    Attributes:
        batch: samples in a mini-batch at most. The paper's 50 mini-batches want 50 times as many.
    """

    batch: int = 16

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise SettingError(
                f"Criterion jacobian: option batch is at least 1; {self.batch} was given."
            )


@criterion(
    source="Optimal Brain Connection 2025, Jacobian criterion; read in the authors' code",
    needs=Need.GRADIENTS | Need.TRAINED,
    normalize="none",
)
def jacobian(view: View, how: Jacobian) -> Channels:
    """Scores channels by the mean over mini-batches of the sum over members of (J . w)^2."""
    slices = Slices(view.groups.coupling)
    scored = np.zeros(view.groups.coupling.components.kept.size, dtype=bool)
    total, samples = np.zeros(scored.size), 0
    loss = view.differentiated(statistics="stored")
    for gradients, count in loss.each(how.batch):
        fold = Fold(view.groups, Elements(loss.weighted(gradients)))
        for group in view.groups.groups:
            changes = _changes(fold, slices, group)
            for change in changes:
                total[group.components] += count * change**2
            scored[group.components] = bool(changes)
        samples += count
    return Channels(np.where(scored, total / samples, np.nan))


def _changes(fold: Fold, slices: Slices, group: Group) -> list[Values]:
    """J . w of a group's channels, each of shape (channels,); one for every member.

    What one node reads on one side is one member: its rows and its bias, its scale and its shift.
    """
    model = group.coupling.model
    found: dict[tuple[int, bool], Values] = {}
    for member, row in fold.each(group):
        uses = member.axis.uses or tuple(reads(model, member.name))
        columns = slices.picked("consumers")(group, member)
        key = (uses[0].node if uses else -1, columns)
        found[key] = found[key] + row if key in found else row
    return list(found.values())
