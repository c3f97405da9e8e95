"""Which variable of a framework each weight of an exported file is.

Exporters rename weights, turn their axes, and multiply kernels by the scale of a norm, channel by
channel. What is left to tell them by is their values.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from spa.errors import FrameworkError

Array = npt.NDArray[Any]
CLOSE = 1e-4


@dataclass(frozen=True)
class Match:
    """A weight of a file, and the variable that it is.

    Attributes:
        variable: the variable's name.
        axes: for every axis of the weight, the variable's.
        scaled: whether the weight is the variable times something, channel by channel.
    """

    variable: str
    axes: tuple[int, ...]
    scaled: bool = False


def matches(
    proto: onnx.ModelProto, marked: onnx.ModelProto, variables: Mapping[str, Array]
) -> dict[str, Match]:
    """Finds the variable of every weight that is one.

    Args:
        proto: the exported model.
        marked: the same graph with the values that ``variables`` have; it may be ``proto`` itself,
            where these tell variables apart.
        variables: by name.

    Returns:
        By name of the weight in ``proto``. Weights that are no variable (constants, a bias that a
        norm's shift was added to) are left out.

    Raises:
        FrameworkError: the two files are not of the same graph.
    """
    ours, theirs = proto.graph.node, marked.graph.node
    if [node.op_type for node in ours] != [node.op_type for node in theirs]:
        raise FrameworkError(
            "Two exports of the model with different weights gave different graphs, so that its "
            "weights cannot be told. The ONNX file is right; the model itself stays as it is."
        )
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in marked.graph.initializer}
    names = {tensor.name for tensor in proto.graph.initializer}
    found: dict[str, Match] = {}
    for mine, other in zip(ours, theirs, strict=True):
        for name, name_there in zip(mine.input, other.input, strict=True):
            if name in names and name not in found and name_there in values:
                match = _match(values[name_there], variables)
                if match is not None:
                    found[name] = match
    return found


def _match(weight: Array, variables: Mapping[str, Array]) -> Match | None:
    if weight.dtype.kind != "f" or weight.size < 2:
        return None
    for name, variable in variables.items():
        if variable.size != weight.size:
            continue
        for axes in _orders(weight, variable):
            turned = variable.transpose(axes).reshape(weight.shape)
            if np.allclose(weight, turned, rtol=CLOSE, atol=0):
                return Match(name, axes)
            if _is_scaled(weight, turned):
                return Match(name, axes, scaled=True)
    return None


def _is_scaled(weight: Array, variable: Array) -> bool:
    """Whether a kernel is another one, each channel by a factor of its own."""
    if sum(size > 1 for size in weight.shape) < 2:
        return False
    for axis in range(weight.ndim):
        others = tuple(k for k in range(weight.ndim) if k != axis)
        square = (variable * variable).sum(axis=others, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.nan_to_num((weight * variable).sum(axis=others, keepdims=True) / square)
        scale = float(np.abs(weight).max())
        if np.allclose(weight, factor * variable, rtol=0, atol=CLOSE * scale):
            return True
    return False


def _orders(weight: Array, variable: Array) -> list[tuple[int, ...]]:
    """Orders of a variable's axes that give the weight's shape, axes of size 1 aside."""
    wanted = [size for size in weight.shape if size > 1]
    return [
        order
        for order in itertools.permutations(range(variable.ndim))
        if [variable.shape[k] for k in order if variable.shape[k] > 1] == wanted
    ]


def axis_of(match: Match, weight: tuple[int, ...], variable: tuple[int, ...], axis: int) -> int:
    """The variable's axis that is some axis of the weight; axes of size 1 come and go."""
    place = [k for k, size in enumerate(weight) if size > 1].index(axis)
    return [k for k in match.axes if variable[k] > 1][place]
