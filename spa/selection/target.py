"""What to reach, and what holds whatever the scores say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from spa.coupling.groups import Group
from spa.errors import SettingError
from spa.selection import scope
from spa.selection.match import matches
from spa.selection.quantity import Quantity, get, quantities


@dataclass(frozen=True, init=False)
class Target:
    """What to reach: a quantity, and its value.

    ``Target("flops", 2.0)`` is ``Target(rf=2.0)``; every quantity has a keyword.

    Attributes:
        quantity: a registered quantity (`spa.selection.quantity`): flops (rf), parameters (rp), or
            ratio.
        value: dense over pruned, at least 1; of a ratio the removed share of the channels.
    """

    quantity: str
    value: float

    def __init__(
        self,
        quantity: str | None = None,
        value: float | None = None,
        **named: float | None,
    ) -> None:
        given = {name: number for name, number in named.items() if number is not None}
        if quantity is not None and value is not None:
            given[quantity] = value
        if len(given) != 1:
            known = ", ".join(each.keyword for each in quantities().values())
            raise SettingError(f"Give exactly one target, of {known}; {len(given)} were given.")
        ((name, asked),) = given.items()
        found = get(name)
        found.check(asked)
        object.__setattr__(self, "quantity", found.name)
        object.__setattr__(self, "value", float(asked))

    @property
    def of(self) -> Quantity:
        """The quantity."""
        return get(self.quantity)

    def as_dict(self) -> dict[str, float]:
        """The value by its keyword."""
        return {self.of.keyword: self.value}

    def part(self, step: int, steps: int) -> Target:
        """The target of one of several steps: equal factors for quotients, equal shares else."""
        return Target(self.quantity, self.of.part(self.value, step / steps))


@dataclass(frozen=True)
class Limits:
    """What holds whatever the scores say.

    Attributes:
        scope: which channels are ranked together (`spa.selection.scope`): ``global`` all of them,
            ``isomorphic`` those of groups of one structure, ``stage`` those of groups with maps of
            one size; ``local`` shrinks every group alike.
        round_to: kept widths are multiples of this where they shrink.
        min_channels: channels that every group keeps at least.
        max_ratio: largest share of a group that may go; None is 1 for local scope, 0.9 for others.
        include: globs over parameter and node names, or ``group:3`` (`spa.selection.match` has all
            forms); only groups with a match may shrink.
        exclude: likewise; groups with a match are left alone.
        floors: channels that groups keep at least, by glob; in place of ``min_channels``.
        caps: largest share that may go, by glob; in place of ``max_ratio``. Of several that match a
            group the strictest holds, as it does of floors.
        ratios: shares of groups that lose just that, by glob, whatever the target and the scores
            of others; ``max_ratio`` does not hold for them. A target that is a ratio is of all
            others, any other of the whole model. Two for one group are refused.
        protect_first: so many groups at the front of the network are left alone.
        protect_last: likewise at its end.
    """

    scope: str = "global"
    round_to: int = 1
    min_channels: int = 1
    max_ratio: float | None = None
    include: Sequence[str] = field(default=())
    exclude: Sequence[str] = field(default=())
    floors: Mapping[str, int] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    protect_first: int = 0
    protect_last: int = 0

    def __post_init__(self) -> None:
        scope.get(self.scope)
        if self.round_to < 1 or self.min_channels < 1:
            raise SettingError(
                "round_to and min_channels must be 1 or more; "
                f"{self.round_to} and {self.min_channels} were given."
            )
        if self.protect_first < 0 or self.protect_last < 0:
            raise SettingError(
                "protect_first and protect_last must be 0 or more; "
                f"{self.protect_first} and {self.protect_last} were given."
            )
        if self.max_ratio is not None and not 0.0 <= self.max_ratio <= 1.0:
            raise SettingError(f"max_ratio must lie in [0, 1]; {self.max_ratio:g} was given.")
        for glob, share in self.caps.items():
            if not 0.0 <= share <= 1.0:
                raise SettingError(f'The cap of "{glob}" must lie in [0, 1]; {share:g} was given.')
        for glob, share in self.ratios.items():
            if not 0.0 <= share < 1.0:
                raise SettingError(
                    f'The ratio of "{glob}" must lie in [0, 1); {share:g} was given.'
                )
        for glob, least in self.floors.items():
            if least < 1:
                raise SettingError(f'The floor of "{glob}" must be 1 or more; {least} was given.')

    @property
    def cap(self) -> float:
        """Largest share of a group that may go, where no glob says otherwise."""
        return scope.get(self.scope).cap if self.max_ratio is None else self.max_ratio

    def part(self, step: int, steps: int) -> Limits:
        """The limits of one of several steps, in which groups' own shares grow."""
        own = {glob: share * step / steps for glob, share in self.ratios.items()}
        return replace(self, ratios=own)

    def ratio_of(self, group: Group) -> float | None:
        """The share that a group has of its own; None for most.

        Raises:
            SettingError: two globs give it different ones.
        """
        own = {glob: share for glob, share in self.ratios.items() if matches(group, glob)}
        if len(set(own.values())) > 1:
            given = " and ".join(f'{share:g} by "{glob}"' for glob, share in own.items())
            raise SettingError(
                f"Group {group.id} is given the ratios {given}. A weight belongs to the group of "
                "its outputs and to that of its inputs; out:GLOB matches the first alone."
            )
        return next(iter(own.values()), None)

    def most(self, group: Group) -> int:
        """How many channels of a group may go; nothing may empty a layer."""
        shares = [share for glob, share in self.caps.items() if matches(group, glob)]
        if not shares and self.ratio_of(group) is not None:
            shares = [1.0]
        floors = [least for glob, least in self.floors.items() if matches(group, glob)]
        by_share = math.floor(min(shares, default=self.cap) * group.channels + 1e-9)
        least = max(*floors, group.at_least) if floors else max(self.min_channels, group.at_least)
        return max(0, min(by_share, group.channels - least))
