"""Parts that only training mode runs, made smaller with the rest.

No evaluation export holds an auxiliary head, so no plan names its parameters. The module is
exported once more, in training mode: there its parameters are coupled with those that the plan
names, and lose the same channels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from torch import nn

from spa.bridge.exporting import from_module
from spa.bridge.likeness import Inputs
from spa.bridge.training_mode import quiet_training
from spa.coupling.couple import Coupling, couple
from spa.errors import BridgeError
from spa.graph.load import load_proto
from spa.graph.read import model_sha256
from spa.pruning.plan import Plan, Removal


def training_removals(
    net: nn.Module, inputs: Inputs, plan: Plan, only: Collection[str]
) -> list[Removal]:
    """What goes of parameters that only training mode uses.

    Args:
        net: the dense module.
        inputs: its example inputs.
        plan: what goes of all others.
        only: names of those parameters.

    Raises:
        SpaError: training mode cannot be exported or followed, or it couples channels of which the
            plan takes some and leaves others.
    """
    with quiet_training(net):
        proto = from_module(net, inputs)
    model = load_proto(proto, model_sha256(proto), f"{type(net).__name__} in training mode", {})
    return _followed(couple(model, plan.attention), plan.parameters, only)


def _followed(
    coupling: Coupling, removals: Sequence[Removal], only: Collection[str]
) -> list[Removal]:
    of = coupling.components.of
    goes = np.zeros(coupling.components.kept.size, dtype=bool)
    planned: dict[tuple[str, int], set[int]] = {}
    for removal in removals:
        planned.setdefault((removal.name, removal.axis), set()).update(removal.removed)
    axes = [axis for axis in coupling.axes if axis.is_parameter]
    for axis in axes:
        taken = planned.get((axis.tensor, axis.axis), ())
        goes[of[[axis.start + i for i in taken]]] = True
    found: dict[tuple[str, int], Removal] = {}
    for axis in axes:
        removed = np.flatnonzero(goes[of[axis.start : axis.start + axis.size]]).tolist()
        key = (axis.tensor, axis.axis)
        if axis.tensor in only and removed:
            found[key] = Removal(axis.tensor, axis.axis, axis.size, tuple(removed))
        elif axis.tensor not in only and set(removed) - planned.get(key, set()):
            raise BridgeError(
                f'in training mode axis {axis.axis} of "{axis.tensor}" is coupled with channels '
                f"that the plan removes, and the plan leaves {len(removed)} of its entries."
            )
    return list(found.values())
