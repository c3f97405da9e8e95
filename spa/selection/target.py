"""What to reach, and what holds whatever the scores say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from spa.errors import SettingError
from spa.selection.quantity import Quantity, get, quantities

# Uncapped global rankings are known to wipe out whole layers (papers: collapse at RF 4 and up).
DEFAULT_GLOBAL_CAP = 0.9


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

    @property
    def cap(self) -> float:
        """Largest share of a group that may go."""
        if self.max_ratio is not None:
            return self.max_ratio
        return DEFAULT_GLOBAL_CAP if self.scope == "global" else 1.0
