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
from spa.frameworks.matching import Match, axis_of
from spa.graph.deferred import array_of
from spa.graph.execute import run
from spa.graph.nodes import real_inputs
from spa.pruning.plan import Plan

Array = npt.NDArray[Any]
# By variable, the indices of each axis that go.
Removed = dict[str, list[tuple[int, list[int]]]]
TOLERANCE = 1e-4


def removed_of(
    plan: Plan,
    proto: onnx.ModelProto,
    found: Mapping[str, Match],
    variables: Mapping[str, tuple[int, ...]],
) -> Removed:
    """What goes of every variable.

    Args:
        plan: what goes of the file's weights.
        proto: the dense file.
        found: the variable of each weight.
        variables: shapes of the variables.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    removed: Removed = {}
    for entry in plan.parameters:
        match = found.get(entry.name)
        if match is None:
            continue
        axis = axis_of(match, shapes[entry.name], variables[match.variable], entry.axis)
        known = dict(removed.setdefault(match.variable, []))
        indices = [int(i) for i in entry.removed]
        if known.get(axis, indices) != indices:
            raise FrameworkError(
                f'Variable "{match.variable}" is read in two ways, which lose different channels.'
            )
        if axis not in known:
            removed[match.variable].append((axis, indices))
    return removed


def values_of(
    pruned: onnx.ModelProto,
    found: Mapping[str, Match],
    variables: Mapping[str, tuple[int, ...]],
    removed: Removed,
) -> dict[str, Array]:
    """Values of the smaller model's variables that stand in the pruned file as they are.

    They may have been trained since, or refitted.
    """
    values = {}
    for tensor in pruned.graph.initializer:
        match = found.get(tensor.name)
        if match is None or match.scaled:
            continue
        shape = list(variables[match.variable])
        for axis, indices in removed.get(match.variable, ()):
            shape[axis] -= len(indices)
        turned = array_of(tensor).reshape([shape[k] for k in match.axes])
        values[match.variable] = turned.transpose(np.argsort(match.axes))
    return values


def groups_of(pruned: onnx.ModelProto, found: Mapping[str, Match]) -> dict[str, int]:
    """Number of groups of every convolution that is left, by its kernel's variable."""
    groups = {}
    for node in pruned.graph.node:
        match = found.get(node.input[1]) if "Conv" in node.op_type else None
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
            if have.shape != want.shape or not np.abs(have - want).max() <= TOLERANCE * scale:
                raise FrameworkError(
                    f"{what} would not compute what the pruned ONNX file does, so it was not "
                    "written; the ONNX file is right. (Keras has no way yet to take weights back "
                    "that were trained since, where a norm was folded into them.)"
                )
