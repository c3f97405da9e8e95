"""Parts that only training mode runs, made smaller with the rest.

No evaluation export holds an auxiliary head, so no plan names its parameters. The module is
exported once more, in training mode: there its parameters are coupled with those that the plan
names, and lose the same channels. The export is cut too, and is what the smaller module is held to
in training mode.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from torch import nn

from spa.bridge.exporting import from_module
from spa.coupling.couple import Coupling, Cut, couple
from spa.errors import BridgeError
from spa.graph.load import load_proto
from spa.graph.read import model_sha256
from spa.modules.likeness import Inputs
from spa.modules.training_mode import quiet_training
from spa.pruning.plan import Plan, Removal
from spa.pruning.surgery import cut_model

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingParts:
    """What follows in training mode.

    Attributes:
        removals: what goes of parameters that only training mode uses.
        pruned: the export in training mode, cut; its batch norms use their running statistics and
            it drops nothing out. None where training mode uses no parameters of its own.
    """

    removals: tuple[Removal, ...] = ()
    pruned: onnx.ModelProto | None = None


def training_parts(
    net: nn.Module, inputs: Inputs, plan: Plan, only: Collection[str]
) -> TrainingParts:
    """Lets parameters that only training mode uses follow a plan.

    Args:
        net: the dense module.
        inputs: its example inputs.
        plan: what goes of all others.
        only: names of those parameters.

    Raises:
        SpaError: training mode cannot be exported or followed; or it keeps channels that the plan
            takes, or couples them with some that it leaves.
    """
    with quiet_training(net):
        proto = from_module(net, inputs)
    label, tied = f"{type(net).__name__} in training mode", frozenset(net.state_dict())
    model = load_proto(proto, model_sha256(proto), label, {}, tied)
    coupling = couple(model, **plan.coupled)
    goes = _gone(coupling, plan.parameters)
    removals = _followed(coupling, goes, plan.parameters, only)
    pruned = cut_model(model, Cut(coupling, goes[coupling.components.of]))
    return TrainingParts(removals, pruned)


def _gone(coupling: Coupling, removals: Sequence[Removal]) -> Mask:
    """Which components a plan takes, shape (components,)."""
    of, kept = coupling.components.of, coupling.components.kept
    taken = _by_axis(removals)
    goes = np.zeros(kept.size, dtype=bool)
    for axis in coupling.axes:
        if axis.is_parameter:
            removed = sorted(taken.get((axis.tensor, axis.axis), ()))
            components = of[axis.start + np.array(removed, dtype=np.int64)]
            if kept[components].any():
                why = coupling.kept[int(coupling.why_kept[components[kept[components]]].min())]
                raise BridgeError(
                    f'training mode keeps channels of axis {axis.axis} of "{axis.tensor}" that '
                    f"the plan removes: {why.text}"
                )
            goes[components] = True
    return goes


def _by_axis(removals: Sequence[Removal]) -> dict[tuple[str, int], set[int]]:
    found: dict[tuple[str, int], set[int]] = {}
    for removal in removals:
        found.setdefault((removal.name, removal.axis), set()).update(removal.removed)
    return found


def _followed(
    coupling: Coupling, goes: Mask, removals: Sequence[Removal], only: Collection[str]
) -> tuple[Removal, ...]:
    taken = _by_axis(removals)
    found: dict[tuple[str, int], Removal] = {}
    for axis in coupling.axes:
        labels = slice(axis.start, axis.start + axis.size)
        removed = np.flatnonzero(goes[coupling.components.of[labels]]).tolist()
        key = (axis.tensor, axis.axis)
        if not axis.is_parameter or not removed:
            continue
        if axis.tensor in only:
            found[key] = Removal(axis.tensor, axis.axis, axis.size, tuple(removed))
        elif set(removed) - taken.get(key, set()):
            raise BridgeError(
                f"training mode couples channels that the plan removes with axis {axis.axis} of "
                f'"{axis.tensor}", of which the plan leaves them'
            )
    return tuple(found.values())
