"""Quantities that targets are of: FLOPs, parameters, bytes, a share of the channels, latency.

A quantity is a number for every choice of channels. What all of them say is how it is asked for
(its keyword), which numbers can be asked for, and whether it only grows along an order of channels;
then the shortest prefix that reaches a value is found by bisection, and else by looking along the
order. One that has to be measured has no such number, and a search of its own (`spa.latency`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from spa.errors import SettingError
from spa.graph.cost import Cost
from spa.registry import Registry
from spa.selection.costs import CostModel

if TYPE_CHECKING:
    from spa.selection.order import Order

Mask: TypeAlias = npt.NDArray[np.bool_]


Kind: TypeAlias = Literal["quotient", "share", "amount"]

# A reached value within this share of the asked one needs no remark; one that is further below it
# has been missed.
CLOSE = 0.03


@dataclass(frozen=True)
class Costs:
    """What a quantity may be computed from.

    Attributes:
        model: the cost of any choice of channels.
        dense: that of the dense model.
        order: the channels that may go.
    """

    model: CostModel
    dense: Cost
    order: Order


@dataclass(frozen=True)
class Quantity:
    """A quantity.

    Attributes:
        name: what a target names it by.
        keyword: how it is asked for: ``spa.prune(rf=2.0)``, ``--rf 2``.
        value: its value where some components go, shape (components,); None where it is measured.
        grows: whether it only grows (an amount: falls) as more channels go.
        kind: a ``quotient`` of 1 or more, dense over pruned; a ``share`` in [0, 1); or an
            ``amount`` that is to be left at most.
        text: what a number of it means, for messages.
        enough: the value that counts as reached, of the one that was asked for, as channels are
            whole; None: that one.
    """

    name: str
    keyword: str
    value: Callable[[Costs, Mask], float] | None
    grows: bool
    kind: Kind
    text: str
    enough: Callable[[Order, float], float] | None = None

    def check(self, asked: float) -> None:
        """Refuses what cannot be asked for.

        Raises:
            SettingError: the number has no meaning.
        """
        if self.kind == "share" and not 0.0 <= asked < 1.0:
            raise SettingError(
                f"{self.keyword} must lie in [0, 1), {self.text}; {asked:g} was given."
            )
        if self.kind == "amount" and not 0.0 < asked < math.inf:
            raise SettingError(
                f"{self.keyword} is {self.text}, so it must be a finite number above 0; "
                f"{asked:g} was given."
            )
        if self.kind == "quotient" and not 1.0 <= asked < math.inf:
            raise SettingError(
                f"{self.keyword} is {self.text}, so it must be a finite number of at least 1; "
                f"{asked:g} was given."
            )

    def part(self, asked: float, share: float) -> float:
        """The value of one of several steps: equal factors, or equal shares.

        Raises:
            SettingError: it is an amount, of which the dense model's is not known here.
        """
        if self.kind == "amount" and share != 1.0:
            raise SettingError(
                f"{self.keyword} is an amount, which has no steps; ask for a quotient, or in one."
            )
        return asked * share if self.kind == "share" else asked**share


QUANTITIES = Registry[Quantity](
    "quantity", f"{__package__}.quantities", Path(__file__).parent / "quantities"
)


def quantity(found: Quantity) -> Quantity:
    """Registers a quantity."""
    return QUANTITIES.add(found.name, found)


def quantities() -> Mapping[str, Quantity]:
    """All quantities by name."""
    return QUANTITIES.all()


def get(name: str) -> Quantity:
    """Looks a quantity up, by its name or its keyword.

    Raises:
        SettingError: there is none; near matches are offered.
    """
    for each in quantities().values():
        if name == each.keyword:
            return each
    return QUANTITIES.get(name)
