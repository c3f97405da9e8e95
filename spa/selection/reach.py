"""What is said where a target is out of reach: the rule, the numbers and the way out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spa.coupling.groups import Group, Groups
from spa.coupling.kept import main_causes
from spa.errors import InfeasibleTarget
from spa.selection.order import Order
from spa.selection.quantity import CLOSE
from spa.selection.target import Limits, Target


def out_of_reach(
    target: Target,
    top: float,
    unchanged: float,
    chosen: Sequence[Group],
    groups: Groups,
    limits: Limits,
) -> str:
    """A sentence or two.

    Args:
        target: what was asked.
        top: the nearest value that the limits allow.
        unchanged: the value of the dense model.
        chosen: the groups that may shrink.
        groups: all of them.
        limits: what holds whatever the scores say.
    """
    name = target.of.keyword
    what = f"{name} {target.value:g} is out of reach"
    if not groups.groups:
        causes = main_causes(groups.kept)
        why = f"What is kept dense: {causes}." if causes else "It has no weights."
        return (
            f"{what}: no group of this model may shrink, so {name} stays {unchanged:g}. "
            f"{why}{' spa inspect lists every axis.' if causes else ''}"
        )
    if not chosen:
        return (
            f"{what}: --include, --exclude, --protect-first or -last and the criterion leave no "
            f"group that may shrink, so {name} stays {unchanged:g}."
        )
    falls = target.of.kind == "amount"
    nearest = _rounded(top, up=falls)
    helps = nearest < unchanged if falls else nearest > unchanged
    ask = f"Ask for {name} {nearest:.4g} or {'more' if falls else 'less'}, or loosen them."
    return (
        f"{what}: {nearest:.4g} is the {'least' if falls else 'most'} that the limits allow "
        f"({_held(chosen, limits)}). {ask if helps else 'Loosen them.'}"
    )


def own_ratio_missed(
    order: Order, chosen: Sequence[Group], limits: Limits
) -> InfeasibleTarget | None:
    """The first group that cannot lose the share that it has of its own; None where all can."""
    for number, count in order.own.items():
        group = chosen[number]
        asked = limits.ratio_of(group) or 0.0
        if count < asked * group.channels * (1 - CLOSE):
            top = count / group.channels
            name = f"ratio of group {group.id}"
            return InfeasibleTarget(
                f"{name} {asked:g} is out of reach: {_rounded(top, up=False):.4g} of its "
                f"{group.channels} channels is the most that the limits allow "
                f"({_held([group], limits)}). Ask for less, or loosen them.",
                quantity=name, asked=asked, reachable=top,
            )  # fmt: skip
    return None


def own_ratio_notes(order: Order, chosen: Sequence[Group], limits: Limits) -> list[str]:
    """Of groups with a share of their own, which lose more than that, as channels are whole."""
    notes = []
    for number, count in order.own.items():
        group = chosen[number]
        asked = limits.ratio_of(group) or 0.0
        if count > asked * group.channels * (1 + CLOSE):
            notes.append(
                f"ratio {asked:g} of group {group.id} was asked, and {count} of its "
                f"{group.channels} channels are the nearest that are not fewer."
            )
    return notes


def _held(chosen: Sequence[Group], limits: Limits) -> str:
    """What may hold groups back, with its numbers."""
    held = {
        "max_ratio": limits.cap,
        "min_channels": limits.min_channels,
        "round_to": limits.round_to,
        **{f"cap {glob}": share for glob, share in limits.caps.items()},
        **{f"floor {glob}": least for glob, least in limits.floors.items()},
        **{f"ratio of {glob}": share for glob, share in limits.ratios.items()},
    }
    needed = max(group.at_least for group in chosen)
    if needed > limits.min_channels:
        held["needed by an operator"] = needed  # TopK takes as many as it is told to
    return ", ".join(f"{name} {value}" for name, value in held.items())


def _rounded(value: float, *, up: bool) -> float:
    """A value with four digits that is not beyond it: who asks for it gets it."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (3 - math.floor(math.log10(value)))
    return (math.ceil if up else math.floor)(value * scale) / scale
