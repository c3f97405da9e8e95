"""The budget: from scores and a target to the channels that go.

A prefix of the total order of channels (`spa.selection.order`) that reaches the target is looked
for, and none shorter by one. FLOPs and parameters only fall along the order, so bisection finds the
shortest. Of a quantity that may fall and rise, prefixes all along the order are looked at, and the
first that reaches it is cut back. Where its last channel overshoots by more than 3 %, it is passed
over for channels behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spa.coupling.groups import Group, Groups
from spa.errors import InfeasibleTarget, SettingError
from spa.graph.cost import Cost
from spa.importance.score import Scores
from spa.selection.costs import CostModel
from spa.selection.match import FORMS, matches, number_in
from spa.selection.order import Order
from spa.selection.quantity import CLOSE, Costs
from spa.selection.reach import out_of_reach, own_ratio_missed, own_ratio_notes
from spa.selection.target import Limits, Target

Mask = npt.NDArray[np.bool_]

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
        latency: what was predicted and measured, JSON-ready, where that was the target.
    """

    removed: Mask
    dense: Cost
    pruned: Cost
    notes: tuple[str, ...]
    latency: Mapping[str, Any] | None = None

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
    whole: Target | None = None,
) -> Selection:
    """Chooses the channels that go.

    Args:
        groups: the model's groups.
        scores: their scores.
        target: what to reach.
        limits: what holds whatever the scores say.
        already: components that went in earlier steps.
        best_effort: where the target is out of reach, take the most that the limits allow.
        whole: what the target is one of several steps to, for messages.

    Raises:
        InfeasibleTarget: the limits keep the target out of reach by more than `CLOSE`; by less, or
            where a ratio is asked of a model that has no groups at all, the most that they allow
            is taken, and a note says so.
        SettingError: a glob matches nothing, or the quantity has to be measured.
    """
    quantity, name = target.of, target.of.keyword
    if quantity.value is None:
        raise SettingError(f"{name} has to be measured, which spa.prune does; or ask for rf or rp.")
    chosen, notes = eligible(groups, scores, limits)
    order = Order(groups, chosen, scores, limits, already)
    if (missed := own_ratio_missed(order, chosen, limits)) is not None:
        if not best_effort:
            raise missed
        notes.append(str(missed))
    notes += own_ratio_notes(order, chosen, limits)
    costs = CostModel(groups.coupling)
    nothing = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    dense = costs.cost(nothing)
    value_of, known = quantity.value, Costs(costs, dense, order)
    # More is better of what is compared: of an amount that is dense over pruned.
    is_amount = quantity.kind == "amount"
    at_dense = value_of(known, nothing)

    def as_asked(value: float) -> float:
        return at_dense / value if is_amount else value

    def reached(removed: Mask) -> float:
        return as_asked(value_of(known, removed))

    asked = max(1.0, as_asked(target.value)) if is_amount else target.value
    wanted = asked if quantity.enough is None else quantity.enough(order, asked)
    # A hair of slack, so that a value that was reached once is reached again.
    enough = wanted * (1 - 1e-9)
    length, is_reached = _length(order, reached, enough, grows=quantity.grows)
    removed = order.prefix(length)
    if not is_reached:
        top = reached(removed)
        said = whole or target
        why = out_of_reach(said, as_asked(top), at_dense, chosen, groups, limits)
        # A share of no channels at all is no miss, but it is said.
        none = quantity.enough is not None and not groups.groups
        if top < asked * (1 - CLOSE) and not best_effort and not none:
            raise InfeasibleTarget(why, quantity=name, asked=said.value, reachable=as_asked(top))
        return Selection(removed, dense, costs.cost(removed), (*notes, why))
    too_much = asked * (1 + CLOSE)
    if length and reached(removed) > too_much:
        removed = _closer(order, length - 1, reached, enough, too_much)
    value = reached(removed)
    if value > too_much:
        unit = "channel" if limits.round_to == 1 else f"step of {limits.round_to}"
        if not length:
            why = "what it comes to by the ratios of some groups alone."
        elif wanted > too_much:
            why = "what it comes to: channels are whole, and sets of one size lose equally many."
        else:
            why = (
                f"the nearest value found that is not {'above' if is_amount else 'below'} it: one "
                f"more {unit} removes that much."
            )
        notes.append(f"{name} {target.value:g} was asked and {as_asked(value):.3g} is {why}")
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


def eligible(groups: Groups, scores: Scores, limits: Limits) -> tuple[list[Group], list[str]]:
    """Groups that may shrink, and remarks on those that may not for want of a score."""
    for kind, globs in (
        ("include", limits.include), ("exclude", limits.exclude),
        ("floor", limits.floors), ("cap", limits.caps), ("ratio-of", limits.ratios),
    ):  # fmt: skip
        for glob in globs:
            if not any(matches(group, glob) for group in groups.groups):
                raise SettingError(_no_group(f'--{kind} "{glob}"', glob, groups))
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
    chosen = [group for group in chosen if group.id in scores.by_group]
    for glob in limits.ratios:
        if not any(matches(group, glob) for group in chosen):
            raise SettingError(
                f'--ratio-of "{glob}" matches only groups that --include, --exclude, '
                "--protect-first or -last or the criterion leave alone."
            )
    return chosen, notes


def _no_group(what: str, glob: str, groups: Groups) -> str:
    """What is said of a glob that matches nothing."""
    number, last = number_in(glob), len(groups.groups) - 1
    if number is not None and last >= 0:
        return f"{what}: there is no group {number}; spa inspect shows 0 to {last}."
    return (
        f"{what} matches no parameter or node of any group; spa inspect lists their names "
        f"({FORMS} are taken)."
    )
