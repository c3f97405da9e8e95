"""From scores and a target to a plan."""

from __future__ import annotations

from typing import Any

from spa.coupling.groups import Groups
from spa.importance.score import Scores
from spa.pruning.plan import Plan, build_plan
from spa.selection.budget import Selection, select
from spa.selection.target import Limits, Target


def make_plan(groups: Groups, scores: Scores, target: Target, limits: Limits | None = None) -> Plan:
    """Turns scores and a target into a plan.

    Raises:
        InfeasibleTarget: the target is out of reach within the limits; carries what is reachable.
        SettingError: a glob matches nothing.
    """
    limits = limits or Limits()
    selection = select(groups, scores, target, limits)
    return plan_of(groups, scores, target, limits, selection)


def plan_of(
    groups: Groups, scores: Scores, target: Target, limits: Limits, selection: Selection
) -> Plan:
    """Writes a selection down as a plan."""
    return build_plan(
        groups,
        selection.removed,
        criterion=scores.criterion,
        target=target.as_dict(),
        reached=selection.reached,
        settings={
            "scope": limits.scope,
            "round_to": limits.round_to,
            "min_channels": limits.min_channels,
            "max_ratio": limits.cap,
            "include": list(limits.include),
            "exclude": list(limits.exclude),
            **_where_given(limits),
            "aggregate": scores.aggregate,
            "normalize": scores.normalize,
            **({"scoring": dict(scores.details)} if scores.details else {}),
            **({"latency": dict(selection.latency)} if selection.latency else {}),
        },
        notes=selection.notes,
    )


def _where_given(limits: Limits) -> dict[str, Any]:
    """Limits of some groups alone, where there are any."""
    held = {
        "floors": dict(limits.floors),
        "caps": dict(limits.caps),
        "ratios": dict(limits.ratios),
        "protect_first": limits.protect_first,
        "protect_last": limits.protect_last,
    }
    return {name: value for name, value in held.items() if value}
