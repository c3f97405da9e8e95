"""A framework's own model made as small as its pruned ONNX file.

1. `spa.frameworks.matching` says which variable each weight of the file is; so the plan says which
   indices of which variable go.
2. The framework's worker cuts them and tells its layers their new sizes.
3. What comes out is held to the pruned file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from spa.errors import FrameworkError
from spa.frameworks.gate import tolerance_of
from spa.frameworks.matching import Match, Place, places, removed_along
from spa.graph.deferred import array_of
from spa.graph.execute import run
from spa.graph.nodes import real_inputs
from spa.pruning.plan import Plan

Array = npt.NDArray[Any]
# By variable, the indices of each axis that go.
Removed = dict[str, list[tuple[int, list[int]]]]
# What is smaller than this is nothing: fresh MobileNets give 1e-22, and exports set biases of zeros
# apart by 1e-14.
NOTHING = 1e-12


def removed_of(
    plan: Plan,
    proto: onnx.ModelProto,
    found: Mapping[Place, Match],
    variables: Mapping[str, tuple[int, ...]],
) -> Removed:
    """What goes of every variable.

    Args:
        plan: what goes of the file's weights.
        proto: the dense file.
        found: the variable that is read in each place.
        variables: shapes of the variables.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    readers: dict[str, list[Place]] = {}
    for place, name in places(proto):
        readers.setdefault(name, []).append(place)
    removed: Removed = {}
    for entry in plan.parameters:
        some = [(proto.graph.node[index].output[0], i) for index, i in entry.uses]
        for place in some or readers.get(entry.name, []):
            match = found.get(place)
            if match is None:
                continue
            name, weight = match.variable, shapes[entry.name]
            gone = removed_along(match, weight, variables[name], entry.axis, entry.removed)
            if gone is None:
                raise FrameworkError(
                    f'Variable "{name}" would lose other channels of one head than of another.'
                )
            known = dict(removed.setdefault(name, []))
            for axis, indices in gone.items():
                if known.setdefault(axis, indices) != indices:
                    raise FrameworkError(
                        f'Variable "{name}" is read in two ways, which lose different channels.'
                    )
            removed[name] = list(known.items())
    return removed


def values_of(
    pruned: onnx.ModelProto,
    found: Mapping[Place, Match],
    variables: Mapping[str, tuple[int, ...]],
    removed: Removed,
) -> tuple[dict[str, Array], list[str]]:
    """Values of the smaller model's variables in the pruned file.

    They may have been trained since, or refitted.

    Returns:
        The values, and the names of those that were multiplied by something, channel by channel.
    """
    tensors = {tensor.name: tensor for tensor in pruned.graph.initializer}
    values, scaled = {}, set()
    for place, name in places(pruned):
        match = found.get(place)
        if match is None or name not in tensors:
            continue
        shape = list(variables[match.variable])
        for axis, indices in removed.get(match.variable, ()):
            shape[axis] -= len(indices)
        turned = array_of(tensors[name]).reshape([shape[k] for k in match.axes])
        values[match.variable] = turned.transpose(np.argsort(match.axes))
        if match.scaled:
            scaled.add(match.variable)
    return values, sorted(scaled)


def groups_of(pruned: onnx.ModelProto, found: Mapping[Place, Match]) -> dict[str, int]:
    """Number of groups of every convolution that is left, by its kernel's variable."""
    groups = {}
    for node in pruned.graph.node:
        match = found.get((node.output[0], 1)) if "Conv" in node.op_type else None
        if match is not None:
            groups[match.variable] = next(
                (int(a.i) for a in node.attribute if a.name == "group"), 1
            )
    return groups


def check_equal(
    pruned: onnx.ModelProto, examples: list[list[Array]], outputs: list[list[Array]], what: Path
) -> None:
    """Holds a smaller model to the pruned file.

    Raises:
        FrameworkError: they differ.
    """
    names = [value.name for value in real_inputs(pruned.graph)]
    for example, wanted in zip(examples, outputs, strict=True):
        for have, want in zip(
            run(pruned, dict(zip(names, example, strict=True))), wanted, strict=True
        ):
            scale = float(np.abs(want).max()) or 1.0
            allowed = tolerance_of(pruned) * scale + NOTHING
            if have.shape != want.shape or not np.abs(have - want).max() <= allowed:
                raise FrameworkError(
                    f"{what} would not compute what the pruned ONNX file does, so it was not "
                    "written; the ONNX file is right: name an output that ends in .onnx."
                )
