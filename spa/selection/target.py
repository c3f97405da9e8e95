"""What to reach, and what holds whatever the scores say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from spa.errors import SettingError

# Uncapped global rankings are known to wipe out whole layers (papers: collapse at RF 4 and up).
DEFAULT_GLOBAL_CAP = 0.9


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

    @property
    def cap(self) -> float:
        """Largest share of a group that may go."""
        if self.max_ratio is not None:
            return self.max_ratio
        return DEFAULT_GLOBAL_CAP if self.scope == "global" else 1.0
