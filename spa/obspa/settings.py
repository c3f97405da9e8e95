"""What can be chosen in OBSPA, and the defaults that were measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from spa.errors import SettingError
from spa.importance.criterion import names

BatchNorms = Literal["keep", "refresh", "relative"]


@dataclass(frozen=True)
class Settings:
    """How channels are chosen and how the rest is refitted.

    The defaults measured best on small networks (digits and Fashion-MNIST, RF 2 to 6): ``l1`` ranks
    as well as the OBS score or better, and needs no inputs; the dense model's outputs as the target
    were worth 6 to 22 points at RF 4 on residual networks; batch statistics make noise and inputs
    of other kinds usable and cost nothing on the task's own; damping from 0.1 % to 3 % is all the
    same.

    Attributes:
        selection: a criterion of `spa.importance`; one that looks at data sees the calibration
            inputs (``obs`` is the OBS score).
        target_outputs: what a layer's refitted outputs should equal: those of the ``dense`` model
            on its own inputs (asymmetric least squares), or its ``own`` before the removal.
        batch_norms: ``keep`` delivers the stored statistics; ``refresh`` replaces them by those of
            the calibration inputs; ``relative`` moves them by what the pruning moved.
        batch_statistics: whether batch norms normalise with the statistics that the calibration
            inputs have in the dense model, while inputs of layers are collected. What is delivered
            is a matter of ``batch_norms`` alone.
        damping: share of the Hessian's mean diagonal that is added to it.
        samples: calibration inputs that are made, or taken from the given ones.
        columns: positions (sample and place) that go into one layer's Hessian, at most.
        device: where tensors live, as torch names it.
        seed: for noise, for the start of a synthesis and for the choice of positions.
    """

    selection: str = "l1"
    target_outputs: Literal["dense", "own"] = "dense"
    batch_norms: BatchNorms = "keep"
    batch_statistics: bool = True
    damping: float = 0.01
    samples: int = 256
    columns: int = 12_000
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("selection", self.selection, names())
        _one_of("target_outputs", self.target_outputs, ("dense", "own"))
        _one_of("batch_norms", self.batch_norms, ("keep", "refresh", "relative"))
        if not 0.0 < self.damping < math.inf:
            raise SettingError(f"damping must be a positive number; {self.damping:g} was given.")
        if self.samples < 1 or self.columns < 1:
            raise SettingError(
                "samples and columns must be 1 or more; "
                f"{self.samples} and {self.columns} were given."
            )


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(f'{name} must be one of {", ".join(known)}; "{value}" was given.')
