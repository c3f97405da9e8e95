"""Processes that train one network together, and what ends a training for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Stopped(Exception):
    """A keeper ended a training; its state is kept."""


class Team:
    """Processes that train one network together; this one trains alone.

    Attributes:
        leads: whether this process reports.
    """

    leads = True

    def wrap(self, net: nn.Module) -> nn.Module:
        """A module whose gradients are summed over the team, with the leader's weights."""
        return net

    def share(self, samples: int) -> tuple[slice, float]:
        """This process's part of a batch, and its weight: 1 over the samples of all parts."""
        return slice(None), 1 / samples

    def same(self, value: Any) -> Any:
        """The leader's value, for all."""
        return value

    def total(self, values: list[float]) -> list[float]:
        """Sums over the team."""
        return values


def led(team: Team, act: Callable[[], None]) -> None:
    """Has the leader do something; where it cannot (a full disk), the training ends for all."""
    failed = None
    if team.leads:
        try:
            act()
        except Exception as error:  # the others must hear of it before it is raised
            failed = error
    if team.same(failed is not None):
        raise failed or Stopped
