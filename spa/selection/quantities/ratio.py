"""Ratio: the share of the channels that goes; of every set of the scope alike.

Channels are whole: what a set loses is rounded down, if that comes close enough; else some lose one
more, those of one size alike, until it does. The share is of the groups that may shrink.
"""

from __future__ import annotations

from spa.selection.order import Order
from spa.selection.quantity import CLOSE, Costs, Mask, Quantity, quantity


def value(costs: Costs, removed: Mask) -> float:
    """The removed share."""
    return costs.order.share(removed)


def enough(order: Order, asked: float) -> float:
    """The share that whole channels come to."""
    return order.whole(asked, asked * (1 - CLOSE))


RATIO = quantity(
    Quantity(
        "ratio", "ratio", value, grows=True, kind="share", text="the removed share", enough=enough
    )
)
