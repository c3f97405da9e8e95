"""The budget: from scores and a target to the channels that go.

A prefix of the total order of channels (`spa.selection.order`) that reaches the target is looked
for, and none shorter by one. FLOPs and parameters only fall along the order, so bisection finds the
shortest. Of a quantity that may fall and rise, prefixes all along the order are looked at, and the
first that reaches it is cut back. Where its last channel overshoots by more than 3 %, it is passed
over for channels behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.coupling.groups import Group, Groups
from spa.coupling.kept import main_causes
from spa.errors import InfeasibleTarget, SettingError
from spa.graph.cost import Cost
from spa.importance.score import Scores
from spa.selection.costs import CostModel
from spa.selection.match import matches
from spa.selection.order import Order
from spa.selection.quantity import Costs
from spa.selection.target import Limits, Target

Mask = npt.NDArray[np.bool_]

# A reached value within this share of the asked one needs no remark.
CLOSE = 0.03
# Prefixes that are looked at where a quantity may rise and fall along the order.
LOOKS = 256


@dataclass(frozen=True)
class Selection:
    """What a budget chose.

    Attributes:
        removed: whether a component goes, shape (components,).
        dense: cost before.
        pruned: cost after.
        notes: sentences for the user.
    """

    removed: Mask
    dense: Cost
    pruned: Cost
    notes: tuple[str, ...]

    @property
    def reached(self) -> dict[str, float]:
        """RF and RP."""
        return ratios(self.dense, self.pruned)


def ratios(dense: Cost, pruned: Cost) -> dict[str, float]:
    """Dense over pruned MACs (which is that of FLOPs) and parameters; 1 for a model without any."""
    return {
        "rf": dense.macs / pruned.macs if pruned.macs else 1.0,
        "rp": dense.params / pruned.params if pruned.params else 1.0,
    }


def select(
    groups: Groups,
    scores: Scores,
    target: Target,
    limits: Limits,
    already: Mask | None = None,
    *,
    best_effort: bool = False,
) -> Selection:
    """Chooses the channels that go.

    Args:
        groups: the model's groups.
        scores: their scores.
        target: what to reach.
        limits: what holds whatever the scores say.
        already: components that went in earlier steps.
        best_effort: where the target is out of reach, take the most that the limits allow.

    Raises:
        InfeasibleTarget: the limits keep the target out of reach by more than `CLOSE`; by less, the
            most that they allow is taken, and a note says so.
        SettingError: a glob matches nothing.
    """
    chosen, notes = _eligible(groups, scores, limits)
    order = Order(groups, chosen, scores, limits, already)
    costs = CostModel(groups.coupling)
    nothing = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    dense = costs.cost(nothing)
    quantity, asked = target.of, target.value
    name = quantity.keyword
    known = Costs(costs, dense, order)

    def reached(removed: Mask) -> float:
        return quantity.value(known, removed)

    wanted = asked if quantity.enough is None else quantity.enough(order, asked)
    # A hair of slack, so that a value that was reached once is reached again.
    enough = wanted * (1 - 1e-9)
    length, is_reached = _length(order, reached, enough, grows=quantity.grows)
    removed = order.prefix(length)
    if not is_reached:
        top = reached(removed)
        why = _out_of_reach(target, top, chosen, groups, limits)
        if top < asked * (1 - CLOSE) and not best_effort:
            raise InfeasibleTarget(why, quantity=name, asked=asked, reachable=top)
        return Selection(removed, dense, costs.cost(removed), (*notes, why))
    too_much = asked * (1 + CLOSE)
    if reached(removed) > too_much:
        removed = _closer(order, length - 1, reached, enough, too_much)
    value = reached(removed)
    if value > too_much:
        unit = "channel" if limits.round_to == 1 else f"step of {limits.round_to}"
        notes.append(
            f"{name} {asked:g} was asked and {value:.3g} is the nearest value found that is not "
            f"below it: one more {unit} removes that much."
        )
    elif value < asked * (1 - CLOSE):
        notes.append(
            f"{name} {asked:g} was asked and {value:.3g} is what it comes to: channels are whole, "
            "and what goes of each set of them is rounded down."
        )
    return Selection(removed, dense, costs.cost(removed), tuple(notes))


def _length(
    order: Order, reached: Callable[[Mask], float], enough: float, *, grows: bool
) -> tuple[int, bool]:
    """Length of a prefix that reaches a value, while that without its last channel does not.

    Returns:
        The length, and True; or that of the prefix that comes nearest, and False.
    """
    looks = [order.size]
    if not grows:
        steps = np.linspace(0, order.size, min(order.size + 1, LOOKS)).round()
        looks = sorted({int(step) for step in steps})
    low, best = -1, (-np.inf, 0)
    for length in looks:
        value = reached(order.prefix(length))
        if value >= enough:
            high = length
            break
        low, best = length, max(best, (value, length))
    else:
        return best[1], False
    low = 0 if grows else low + 1
    while low < high:
        middle = (low + high) // 2
        if reached(order.prefix(middle)) >= enough:
            high = middle
        else:
            low = middle + 1
    return high, True


def _closer(
    order: Order, length: int, reached: Callable[[Mask], float], enough: float, too_much: float
) -> Mask:
    """Where the next channel in the order overshoots: leaves it out and tries those behind it.

    Returns the first selection between ``enough`` and ``too_much``, or else the smallest overshoot.
    """
    counts = order.counts(length)
    best = order.prefix(length + 1)
    passed_over: set[int] = set()
    for group, larger in order.following(length):
        if group in passed_over:
            continue
        trial = list(counts)
        trial[group] = larger(counts[group])
        removed = order.remove(trial)
        value = reached(removed)
        if trial == counts or value > too_much:
            passed_over.add(group)
            best = removed if enough <= value < reached(best) else best
        elif value >= enough:
            return removed
        else:
            counts = trial
    return best


def _eligible(groups: Groups, scores: Scores, limits: Limits) -> tuple[list[Group], list[str]]:
    """Groups that may shrink, and remarks on those that may not for want of a score."""
    for kind, globs in (
        ("include", limits.include), ("exclude", limits.exclude),
        ("floor", limits.floors), ("cap", limits.caps),
    ):  # fmt: skip
        for glob in globs:
            if not any(matches(group, glob) for group in groups.groups):
                raise SettingError(
                    f'--{kind} "{glob}" matches no parameter or node of any group; '
                    "spa inspect lists their names."
                )
    # Groups stand in the order of the network.
    end = len(groups.groups) - limits.protect_last
    chosen = [
        group
        for group in groups.groups[limits.protect_first : max(0, end)]
        if (not limits.include or any(matches(group, glob) for glob in limits.include))
        and not any(matches(group, glob) for glob in limits.exclude)
    ]
    unscored = [group.id for group in chosen if group.id not in scores.by_group]
    notes = []
    if unscored:
        notes.append(
            f"{scores.criterion} scores nothing in {len(unscored)} of {len(chosen)} groups "
            f"(first: group {unscored[0]}); they are left dense."
        )
    return [group for group in chosen if group.id in scores.by_group], notes


def _out_of_reach(
    target: Target, top: float, chosen: Sequence[Group], groups: Groups, limits: Limits
) -> str:
    name, asked, nothing = target.of.keyword, target.value, 0 if target.of.is_share else 1
    what = f"{name} {asked:g} is out of reach"
    if not groups.groups:
        causes = main_causes(groups.kept)
        why = f"What is kept dense: {causes}." if causes else "It has no weights."
        return (
            f"{what}: no group of this model may shrink, so {name} stays {nothing}. "
            f"{why}{' spa inspect lists every axis.' if causes else ''}"
        )
    if not chosen:
        return (
            f"{what}: --include, --exclude, --protect-first or -last and the criterion leave no "
            f"group that may shrink, so {name} stays {nothing}."
        )
    held = {
        "max_ratio": limits.cap,
        "min_channels": limits.min_channels,
        "round_to": limits.round_to,
        **{f"cap {glob}": share for glob, share in limits.caps.items()},
        **{f"floor {glob}": least for glob, least in limits.floors.items()},
    }
    most = _rounded_down(top)
    ways = f"Ask for {name} {most:.4g} or less, or loosen them." if most > nothing else (
        "Loosen them."
    )  # fmt: skip
    return (
        f"{what}: {most:.4g} is the most that the limits allow "
        f"({', '.join(f'{k} {v}' for k, v in held.items())}). {ways}"
    )


def _rounded_down(value: float) -> float:
    """A value with four digits that is not above it: who asks for it gets it."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (3 - math.floor(math.log10(value)))
    return math.floor(value * scale) / scale
