"""What a criterion sees: the model and its groups, and data where it asks for some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spa.coupling.groups import Groups
from spa.errors import SettingError
from spa.graph.model import Array, Model
from spa.importance.gates import Where, over_cut
from spa.importance.values import Values
from spa.observe.activations import activations
from spa.observe.data import Data
from spa.observe.gradients import Differentiated, Statistics
from spa.observe.losses import Loss, loss_for


class View:
    """What there is to score by; nothing is worked out before it is asked for.

    Args:
        model: the model; its weights may be those of a later round.
        groups: its groups.
        data: samples; None where there are none.
        loss: what a gradient is of; see `spa.observe.losses.loss_for`.
        seed: for whatever is drawn.
        name: the criterion's, for messages.
    """

    def __init__(
        self,
        model: Model,
        groups: Groups,
        *,
        data: Data | None = None,
        loss: str | Loss | None = None,
        seed: int = 0,
        name: str = "the criterion",
    ) -> None:
        self.model, self.groups, self.seed = model, groups, seed
        self._data, self._loss, self._name = data, loss, name
        #: What a plan says of the data that was seen; filled as it is looked at.
        self.seen: dict[str, Any] = {}

    @property
    def data(self) -> Data:
        """The samples.

        Raises:
            SettingError: there are none.
        """
        if self._data is None:
            raise SettingError(
                f"{self._name} looks at data, and none was given. Give samples of the task (data=, "
                '--data DATA.npz), or ask for noise by name (data="noise", --data noise).'
            )
        self.seen.update(self._data.describe())
        return self._data

    def differentiated(
        self,
        *,
        statistics: Statistics = "batch",
        temperature: float = 1.0,
        double: bool = False,
    ) -> Differentiated:
        """The loss on the data, to be differentiated by the weights.

        Args:
            statistics: what batch norms normalise by.
            temperature: what outputs are divided by before the loss takes them.
            double: compute in double precision.
        """
        name, loss = loss_for(self.model, self.data, self._loss)
        self.seen["loss"] = name
        return Differentiated(
            self.model, self.data, loss, statistics=statistics, temperature=temperature,
            double=double,
        )  # fmt: skip

    def activations(self, tensors: Sequence[str]) -> Iterator[dict[str, Array]]:
        """What tensors hold, batch after batch."""
        return activations(self.model, self.data, tensors)

    def over_cut(self, elements: Mapping[str, Array], where: Where) -> Values:
        """Sums of element scores over one cut of every coupled set; see `spa.importance.gates`."""
        return over_cut(self.groups, elements, where)
