"""Ratio: the share of the channels that goes; of every group alike where the scope is local."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spa.selection.quantity import Mask, Quantity, quantity

if TYPE_CHECKING:
    from spa.selection.order import Order


def choose(order: Order, asked: float) -> Mask:
    """The first channels of the order."""
    return order.of_ratio(asked)


RATIO = quantity(
    Quantity(
        "ratio", "ratio", None, grows=True, is_share=True, text="the removed share", choose=choose
    )
)
