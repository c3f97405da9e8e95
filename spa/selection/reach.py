"""What is said where a target is out of reach: the rule, the numbers and the way out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spa.coupling.groups import Group, Groups
from spa.coupling.kept import main_causes
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
    held = {
        "max_ratio": limits.cap,
        "min_channels": limits.min_channels,
        "round_to": limits.round_to,
        **{f"cap {glob}": share for glob, share in limits.caps.items()},
        **{f"floor {glob}": least for glob, least in limits.floors.items()},
    }
    needed = max(group.at_least for group in chosen)
    if needed > limits.min_channels:
        held["needed by an operator"] = needed  # TopK takes as many as it is told to
    falls = target.of.kind == "amount"
    nearest = _rounded(top, up=falls)
    helps = nearest < unchanged if falls else nearest > unchanged
    ask = f"Ask for {name} {nearest:.4g} or {'more' if falls else 'less'}, or loosen them."
    return (
        f"{what}: {nearest:.4g} is the {'least' if falls else 'most'} that the limits allow "
        f"({', '.join(f'{k} {v}' for k, v in held.items())}). {ask if helps else 'Loosen them.'}"
    )


def _rounded(value: float, *, up: bool) -> float:
    """A value with four digits that is not beyond it: who asks for it gets it."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (3 - math.floor(math.log10(value)))
    return (math.ceil if up else math.floor)(value * scale) / scale
