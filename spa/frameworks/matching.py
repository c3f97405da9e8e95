"""Which variable of a framework each weight of an exported file is.

Exporters rename weights, turn their axes, and multiply kernels by the scale of a norm, channel by
channel. What is left to tell them by is their values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from spa.errors import FrameworkError

Array = npt.NDArray[Any]
# Where a node reads something: its first output, and the input's position. Weights that several
# nodes read may be one for some and another for others, in the export or in the pruned file.
Place = tuple[str, int]
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
) -> dict[Place, Match]:
    """Finds the variable of every weight that is one.

    Args:
        proto: the exported model.
        marked: the same graph with the values that ``variables`` have; it may be ``proto`` itself,
            where these tell variables apart.
        variables: by name.

    Returns:
        By place in ``proto``. Weights that are no variable (constants) are left out.

    Raises:
        FrameworkError: the two files are not of the same graph.
    """
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in marked.graph.initializer}
    names = {tensor.name for tensor in proto.graph.initializer}
    known = {name: _match(value, variables) for name, value in values.items()}
    found: dict[Place, Match] = {}
    for mine, other in _pairs(proto.graph, marked.graph):
        for i, (name, name_there) in enumerate(zip(mine.input, other.input, strict=True)):
            match = known.get(name_there)
            if name in names and match is not None:
                found[mine.output[0], i] = match
    return found


def _pairs(
    ours: onnx.GraphProto, theirs: onnx.GraphProto
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Nodes that are in the same place of two graphs, from the outputs on.

    Exporters write equal graphs in another order, and with other names, each time.
    """
    mine, others = ({o: n for n in graph.node for o in n.output} for graph in (ours, theirs))
    left = [(a.name, b.name) for a, b in zip(ours.output, theirs.output, strict=True)]
    seen = set()
    while left:
        name, name_there = left.pop()
        node, other = mine.get(name), others.get(name_there)
        if node is None and other is None or name in seen:
            continue
        if node is None or other is None or _form(node) != _form(other):
            raise FrameworkError(
                "Two exports of the model with different weights gave different graphs, so that "
                "its weights cannot be told. The ONNX file is right; the model itself stays as it "
                "is."
            )
        seen.update(node.output)
        yield node, other
        left += zip(node.input, other.input, strict=True)


def _form(node: onnx.NodeProto) -> tuple[str, int, int]:
    return node.op_type, len(node.input), len(node.output)


def places(proto: onnx.ModelProto) -> Iterator[tuple[Place, str]]:
    """Every place of a graph, and the name that is read there."""
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            yield (node.output[0], i), name


def _match(weight: Array, variables: Mapping[str, Array]) -> Match | None:
    if weight.dtype.kind != "f" or not weight.ndim:
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
