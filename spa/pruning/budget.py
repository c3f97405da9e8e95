"""The budget: from scores and a target to a plan.

All prunable channels stand in one total order. Global scope: by score, then group, then place
within the group. Local scope: by the share of its group that is gone once the channel goes, so that
every group shrinks alike. Floors and caps take the end of each group out of the order, and a prefix
of the order is then rounded down to the widths that are asked for. RF and RP only grow along the
order, so the shortest prefix that reaches the target is found by bisection, and ties do no harm.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from spa.coupling.groups import Group, Groups
from spa.errors import InfeasibleTarget, SettingError
from spa.graph.cost import Cost
from spa.importance.score import Scores
from spa.pruning.plan import Plan, build_plan
from spa.pruning.sizes import CostModel

Mask = npt.NDArray[np.bool_]

# Uncapped global rankings are known to wipe out whole layers (papers: collapse at RF 4 and up).
DEFAULT_GLOBAL_CAP = 0.9
# A reached value within this share of the asked one needs no remark.
CLOSE = 0.03


@dataclass(frozen=True)
class Target:
    """What to reach; exactly one of the three.

    Attributes:
        rf: dense FLOPs over pruned FLOPs, at least 1.
        rp: dense parameters over pruned parameters, at least 1.
        ratio: removed share of the channels, in [0, 1).
    """

    rf: float | None = None
    rp: float | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        given = self.as_dict()
        if len(given) != 1:
            raise SettingError(
                f"Give exactly one target, rf, rp or ratio; {len(given)} were given."
            )
        ((name, value),) = given.items()
        if name == "ratio" and not 0.0 <= value < 1.0:
            raise SettingError(f"ratio must lie in [0, 1), the removed share; {value:g} was given.")
        if name != "ratio" and not (1.0 <= value < math.inf):
            raise SettingError(
                f"{name} is dense over pruned, so it must be a finite number of at least 1; "
                f"{value:g} was given."
            )

    def as_dict(self) -> dict[str, float]:
        """The given target by name."""
        values = {"rf": self.rf, "rp": self.rp, "ratio": self.ratio}
        return {name: float(value) for name, value in values.items() if value is not None}

    def part(self, step: int, steps: int) -> Target:
        """The target of one of several steps: equal factors for RF and RP, shares for ratio."""
        ((name, value),) = self.as_dict().items()
        share = step / steps
        return Target(**{name: value * share if name == "ratio" else value**share})


@dataclass(frozen=True)
class Limits:
    """What holds whatever the scores say.

    Attributes:
        scope: ``global`` ranks all channels together, ``local`` shrinks every group alike.
        round_to: kept widths are multiples of this where they shrink.
        min_channels: channels that every group keeps at least.
        max_ratio: largest share of a group that may go; None is 0.9 for global scope, 1 for local.
        include: globs over parameter and node names; only groups with a match may shrink.
        exclude: likewise; groups with a match are left alone.
    """

    scope: Literal["global", "local"] = "global"
    round_to: int = 1
    min_channels: int = 1
    max_ratio: float | None = None
    include: Sequence[str] = field(default=())
    exclude: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.scope not in ("global", "local"):
            raise SettingError(f'scope must be global or local; "{self.scope}" was given.')
        if self.round_to < 1 or self.min_channels < 1:
            raise SettingError(
                "round_to and min_channels must be 1 or more; "
                f"{self.round_to} and {self.min_channels} were given."
            )
        if self.max_ratio is not None and not 0.0 <= self.max_ratio <= 1.0:
            raise SettingError(f"max_ratio must lie in [0, 1]; {self.max_ratio:g} was given.")


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
        return {
            "rf": self.dense.macs / self.pruned.macs if self.pruned.macs else 1.0,
            "rp": self.dense.params / self.pruned.params if self.pruned.params else 1.0,
        }


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
            "max_ratio": _cap(limits),
            "include": list(limits.include),
            "exclude": list(limits.exclude),
            "aggregate": scores.aggregate,
            "normalize": scores.normalize,
        },
        notes=selection.notes,
    )


def select(
    groups: Groups,
    scores: Scores,
    target: Target,
    limits: Limits,
    already: Mask | None = None,
) -> Selection:
    """Chooses the channels that go; ``already`` marks components that went in earlier steps.

    Raises:
        InfeasibleTarget: the target is out of reach within the limits.
        SettingError: a glob matches nothing.
    """
    chosen, notes = _eligible(groups, scores, limits)
    order = _Order(groups, chosen, scores, limits, already)
    costs = CostModel(groups.coupling)
    nothing = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    dense = costs.cost(nothing)
    ((name, asked),) = target.as_dict().items()
    if name == "ratio":
        removed = order.of_ratio(asked)
        return Selection(removed, dense, costs.cost(removed), tuple(notes))

    def reached(length: int) -> float:
        return Selection(nothing, dense, costs.cost(order.prefix(length)), ()).reached[name]

    low, high = 0, order.size
    top = reached(high)
    # A hair of slack: RF 1 of a model without MACs, or a target that a former plan reached.
    if top < asked * (1 - 1e-9):
        raise InfeasibleTarget(
            _out_of_reach(name, asked, top, chosen, limits),
            quantity=name,
            asked=asked,
            reachable=top,
        )
    while low < high:
        middle = (low + high) // 2
        if reached(middle) >= asked * (1 - 1e-9):
            high = middle
        else:
            low = middle + 1
    selection = Selection(order.prefix(low), dense, costs.cost(order.prefix(low)), ())
    value = selection.reached[name]
    if value > asked * (1 + CLOSE):
        unit = "channel" if limits.round_to == 1 else f"step of {limits.round_to}"
        notes.append(
            f"{name} {asked:g} was asked and {value:.3g} is the nearest reachable value not below "
            f"it: one more {unit} removes that much."
        )
    return Selection(selection.removed, dense, selection.pruned, tuple(notes))


class _Order:
    """All channels that may go, in one total order; see the module's text."""

    def __init__(
        self,
        groups: Groups,
        chosen: Sequence[Group],
        scores: Scores,
        limits: Limits,
        already: Mask | None,
    ) -> None:
        self._components = groups.coupling.components.kept.size
        self._groups = list(chosen)
        self._local = limits.scope == "local"
        self._limits = limits
        self._steps = [max(1, limits.round_to // math.gcd(limits.round_to, _width(g)))
                       for g in chosen]  # fmt: skip
        self._caps = [_most(group, limits) for group in chosen]
        keys: list[tuple[float, float, int, int]] = []
        self._ranked: list[npt.NDArray[np.int64]] = []
        for number, group in enumerate(chosen):
            values = scores.by_group[group.id]
            gone = np.zeros(group.channels) if already is None else already[group.components]
            # What went in an earlier step stays first; ties are broken by index.
            ranked = np.lexsort((np.arange(group.channels), values, ~gone.astype(bool)))
            self._ranked.append(group.components[ranked])
            for place in range(self._caps[number]):
                went = bool(gone[ranked[place]])
                share = (place + 1) / group.channels
                key = share if self._local else float(values[ranked[place]])
                keys.append((0.0 if went else 1.0, key, number, place))
        keys.sort()
        self._order = np.array([key[2] for key in keys], dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of channels that may go."""
        return int(self._order.size)

    def prefix(self, length: int) -> Mask:
        """Components that go when the first ``length`` channels do, rounded down."""
        counts = np.bincount(self._order[:length], minlength=len(self._groups))
        return self._remove([int(c) for c in counts])

    def of_ratio(self, ratio: float) -> Mask:
        """Components that go for a removed share: of every group (local), or of all (global)."""
        # The smallest slack that undoes binary fractions: floor(0.29 * 100) is 29.
        if self._local:
            return self._remove([math.floor(ratio * g.channels + 1e-9) for g in self._groups])
        total = sum(group.channels for group in self._groups)
        return self.prefix(min(self.size, math.floor(ratio * total + 1e-9)))

    def _remove(self, counts: Sequence[int]) -> Mask:
        removed = np.zeros(self._components, dtype=bool)
        for number, count in enumerate(counts):
            count = min(count, self._caps[number])
            channels, step = self._groups[number].channels, self._steps[number]
            while count > 0 and (channels - count) % step:
                count -= 1
            removed[self._ranked[number][:count]] = True
        return removed


def _width(group: Group) -> int:
    """Axis entries that one channel takes where the group is narrowest."""
    return int(min(member.indices.shape[1] for member in group.members))


def _most(group: Group, limits: Limits) -> int:
    """How many channels of a group may go; nothing may empty a layer."""
    by_share = math.floor(_cap(limits) * group.channels + 1e-9)
    return max(0, min(by_share, group.channels - limits.min_channels, group.channels - 1))


def _cap(limits: Limits) -> float:
    if limits.max_ratio is not None:
        return limits.max_ratio
    return DEFAULT_GLOBAL_CAP if limits.scope == "global" else 1.0


def _eligible(groups: Groups, scores: Scores, limits: Limits) -> tuple[list[Group], list[str]]:
    """Groups that may shrink, and remarks on those that may not for want of a score."""
    for kind, globs in (("include", limits.include), ("exclude", limits.exclude)):
        for glob in globs:
            if not any(_matches(group, glob) for group in groups.groups):
                raise SettingError(
                    f'--{kind} "{glob}" matches no parameter or node of any group; '
                    "spa inspect lists their names."
                )
    chosen = [
        group
        for group in groups.groups
        if (not limits.include or any(_matches(group, glob) for glob in limits.include))
        and not any(_matches(group, glob) for glob in limits.exclude)
    ]
    unscored = [group.id for group in chosen if group.id not in scores.by_group]
    notes = []
    if unscored:
        notes.append(
            f"{scores.criterion} scores nothing in {len(unscored)} of {len(chosen)} groups "
            f"(first: group {unscored[0]}); they are left dense."
        )
    return [group for group in chosen if group.id in scores.by_group], notes


def _matches(group: Group, glob: str) -> bool:
    names: list[str] = [member.name for member in group.members] + list(group.nodes)
    return any(fnmatch.fnmatchcase(name, glob) for name in names)


def _out_of_reach(
    name: str, asked: float, top: float, chosen: Sequence[Group], limits: Limits
) -> str:
    if not chosen:
        return (
            f"{name} {asked:g} is out of reach: no group of this model may shrink, so {name} stays "
            "1. spa inspect says what is kept dense and why."
        )
    held: Mapping[str, object] = {
        "max_ratio": _cap(limits),
        "min_channels": limits.min_channels,
        "round_to": limits.round_to,
    }
    return (
        f"{name} {asked:g} is out of reach: {top:.4g} is the most that the limits allow "
        f"({', '.join(f'{k} {v}' for k, v in held.items())}). Ask for {name} {top:.4g} or less, or "
        "loosen them."
    )
