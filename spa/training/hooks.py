"""What may happen in a training besides its steps: penalties, edits of gradients and weights.

A hook is a class with some of the methods of `Hook`, registered under a name. It is made anew in
every process from that name and its settings (a `HookSpec`), and its state is kept with the
training's, so that a training that goes on after an interruption ends with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from spa.errors import SettingError
from spa.registry import Registry

if TYPE_CHECKING:
    from spa.coupling.groups import Groups


@dataclass(frozen=True)
class HookSpec:
    """A hook, before it is made.

    Attributes:
        name: its registered name.
        settings: its settings, JSON-ready.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Moment:
    """Where a training is.

    Attributes:
        net: what is trained.
        epochs: how many there are.
        steps: batches in an epoch.
        epoch: the one that is under way, from 0.
        step: its batch, from 0.
        rate: the learning rate.
        groups: the coupled sets of the network's file, where the caller knows them.
    """

    net: nn.Module
    epochs: int
    steps: int
    epoch: int = 0
    step: int = 0
    rate: float = 0.0
    groups: Groups | None = None

    def weights(self) -> dict[str, nn.Parameter]:
        """Parameters by name: by their ONNX names, of a module that the bridge made."""
        named = getattr(self.net, "weights", None)
        return dict(named) if isinstance(named, dict) else dict(self.net.named_parameters())

    def scales(self) -> list[nn.Parameter]:
        """The scales of all batch norms."""
        steps = getattr(self.net, "steps", None)
        if steps is None:
            norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
            found = [m.weight for m in self.net.modules() if isinstance(m, norms)]
            return [weight for weight in found if weight is not None]
        names = dict.fromkeys(s.inputs[1] for s in steps if s.op == "BatchNormalization")
        weights = self.weights()
        return [weights[name] for name in names if name in weights]

    def norms(self) -> dict[int, Tensor]:
        """By group, the squared norms of its coupled sets, shape (channels,); differentiable.

        Raises:
            SettingError: the caller gave no groups.
        """
        if self.groups is None:
            raise SettingError("This training knows no coupled sets; give it the file's groups.")
        weights = self.weights()
        found: dict[int, Tensor] = {}
        for group in self.groups.groups:
            for member in group.members:
                weight = weights.get(member.name)
                if weight is None:
                    continue
                axes = [k for k in range(weight.ndim) if k != member.axis.axis]
                along = weight.square().sum(axes) if axes else weight.square()
                slices = along[torch.from_numpy(np.array(member.indices))].sum(1)
                found[group.id] = found[group.id] + slices if group.id in found else slices
        return found


class Hook:
    """Does nothing; a hook overrides what it needs."""

    def begin(self, at: Moment) -> None:
        """Before the first step, and when a training goes on (after `restore`)."""

    def penalty(self, at: Moment) -> Tensor | float:
        """Added to the mean loss of every batch."""
        return 0.0

    def gradients(self, at: Moment) -> None:
        """After backward, before gradients are clipped and the step is taken."""

    def stepped(self, at: Moment) -> None:
        """After the step."""

    def epoch(self, at: Moment) -> None:
        """After the epoch's last step."""

    def end(self, at: Moment) -> None:
        """After the last epoch: what is left to do to the weights that the training ends with."""

    def state(self) -> dict[str, Any]:
        """What must be kept for a training to go on: tensors, numbers and texts."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes such a state back."""


HOOKS = Registry[type[Hook]]("hook", f"{__package__}.hook", Path(__file__).parent / "hook")
Made = TypeVar("Made", bound=type[Hook])


def hook(name: str) -> Callable[[Made], Made]:
    """Registers a hook."""

    def register(made: Made) -> Made:
        HOOKS.add(name, made)
        return made

    return register


def averaging(decay: float) -> list[HookSpec]:
    """The hook that averages weights, to be the last one; none for a decay of 0."""
    return [HookSpec("average", {"decay": decay})] if decay else []


def names() -> tuple[str, ...]:
    """Names of all hooks, sorted."""
    return HOOKS.names()


def made(specs: Sequence[HookSpec]) -> list[Hook]:
    """Makes hooks.

    Raises:
        SettingError: an unknown name, or settings that a hook does not have.
    """
    found = []
    for spec in specs:
        kind = HOOKS.get(spec.name)
        try:
            found.append(kind(**spec.settings))
        except TypeError as error:
            raise SettingError(f"Hook {spec.name}: {error}.") from error
    return found
