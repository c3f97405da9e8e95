"""A module that keeps its class: where its code has a size written in it, that size stays.

1. Equal parts that a tensor is split into lose the same indices (`spa.coupling.even`).
2. Where a part of the module cannot follow all the same (an attention that gives back the width
   that came in), what its weights make and read stays dense, and the rest is pruned anew, until the
   class follows.

Source: own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from spa.bridge.calls import bare
from spa.coupling.groups import Groups
from spa.errors import BridgeError, InfeasibleTarget
from spa.graph.model import Model
from spa.modules.shrinking import of_its_class, without_class
from spa.progress import stage
from spa.pruning.result import Pruned
from spa.selection.target import Limits

# Prunes within limits.
Make = Callable[[Limits], Pruned]


def keeping_class(
    make: Make,
    module: nn.Module,
    inputs: Any,
    model: Model,
    groups: Groups,
    limits: Limits,
) -> Pruned:
    """Prunes so that a module can keep its class.

    Args:
        make: prunes its ONNX model.
        module: the dense module.
        inputs: what it is called with; see `spa.load`.
        model: its dense ONNX model.
        groups: the groups of that.
        limits: what the user asked for.

    Returns:
        The pruned model with the smaller module, of its class, or of none where nothing helps; its
        notes say what stayed dense for it.

    Raises:
        InfeasibleTarget: what is left cannot reach the target.
    """
    whole = (module, inputs, model, groups)
    held: dict[int, str] = {}
    result = make(limits)
    while True:
        try:
            return _noted(of_its_class(result, *whole), held)
        except Exception as error:  # a module fails in any way it likes
            path = error.path if isinstance(error, BridgeError) else None
            found = {
                number: part
                for part in _alike(bare(module), path)
                for number in _groups_of(groups, part)
                if number not in held
            }
            if not found:
                return without_class(result, module, model, error)
            held |= found
        within = replace(limits, exclude=(*limits.exclude, *(f"group:{n}" for n in sorted(held))))
        with stage(f"Pruning around {', '.join(dict.fromkeys(held.values()))}"):
            result = _made(make, within, held)


def _alike(module: nn.Module, path: str | None) -> list[str]:
    """The part that stands in the way; of torch's own attention all, as they have one code."""
    if not path:
        return []
    kind = nn.MultiheadAttention
    if not isinstance(module.get_submodule(path), kind):
        return [path]
    return [name for name, part in module.named_modules() if isinstance(part, kind)]


def _groups_of(groups: Groups, path: str) -> set[int]:
    """Numbers of the groups that weights of a part of the module are in."""
    return {g.id for g in groups if any(m.name.startswith(f"{path}.") for m in g.members)}


def _made(make: Make, limits: Limits, held: dict[int, str]) -> Pruned:
    try:
        return make(limits)
    except InfeasibleTarget as error:
        raise InfeasibleTarget(
            f"{error} So that the class can be kept, {_said(held)}; without keep_class a traced "
            "module comes back.",
            quantity=error.quantity,
            asked=error.asked,
            reachable=error.reachable,
        ) from error


def _noted(result: Pruned, held: dict[int, str]) -> Pruned:
    if not held:
        return result
    note = f"So that the class is kept, {_said(held)}: sizes are written in their forward."
    return replace(result, plan=replace(result.plan, notes=(*result.plan.notes, note)))


def _said(held: dict[int, str]) -> str:
    paths = list(dict.fromkeys(held.values()))
    count = f"{len(held)} group{'s' * (len(held) > 1)}"
    return f"{count} of {', '.join(paths)} stay{'s' * (len(held) == 1)} dense"
