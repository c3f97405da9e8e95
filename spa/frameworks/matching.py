"""Which variable of a framework each weight of an exported file is.

Exporters rename weights, turn their axes, and multiply kernels by the scale of a norm, channel by
channel. What is left to tell them by is their values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from spa.errors import FrameworkError

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
# Where a node reads something: its first output, and the input's position. Weights that several
# nodes read may be one for some and another for others, in the export or in the pruned file.
Place = tuple[str, int]
CLOSE = 1e-4
# As far as numbers go that an export has rounded to half precision.
CLOSE_IN_HALF = 1e-3
MOVES = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class Match:
    """A weight of a file, and the variable that it is.

    Attributes:
        variable: the variable's name.
        axes: the order of the variable's axes in the weight, which may merge some.
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
    ours, theirs = ({t.name: t for t in graph.initializer} for graph in (proto.graph, marked.graph))
    known = {n: _match(numpy_helper.to_array(t), variables) for n, t in theirs.items()}
    found: dict[Place, Match] = {}
    for place, name, name_there in _pairs(proto.graph, marked.graph):
        match = known.get(name_there)
        if match is not None and name in ours and ours[name].dims == theirs[name_there].dims:
            found[place] = match
    return found


def _pairs(ours: onnx.GraphProto, theirs: onnx.GraphProto) -> Iterator[tuple[Place, str, str]]:
    """Places of a graph, what is read there, and what is read in the same place of another.

    Equal graphs are written in another order, and with other names, each time; tf2onnx also leaves
    more of the transposes that it adds, or fewer. So both are followed from the outputs on, and
    what only moves entries is passed over.
    """
    mine, others = ({o: n for n in graph.node for o in n.output} for graph in (ours, theirs))
    start = [("", i) for i in range(len(ours.output))]
    names, names_there = ([value.name for value in graph.output] for graph in (ours, theirs))
    left = list(zip(start, names, names_there, strict=True))
    seen = set()
    while left:
        place, name, name_there = left.pop()
        (place, name), (_, name_there) = (
            _moved(place, name, mine),
            _moved(place, name_there, others),
        )
        yield place, name, name_there
        node, other = mine.get(name), others.get(name_there)
        if (node is None and other is None) or name in seen:
            continue
        if node is None or other is None or _form(node) != _form(other):
            raise FrameworkError(
                "Two exports of the model with different weights gave different graphs, so that "
                "its weights cannot be told. The ONNX file is right; the model itself stays as it "
                "is."
            )
        seen.update(node.output)
        left += [
            ((node.output[0], i), *pair)
            for i, pair in enumerate(zip(node.input, other.input, strict=True))
        ]


def _moved(place: Place, name: str, producers: Mapping[str, onnx.NodeProto]) -> tuple[Place, str]:
    """Where the first of a row of nodes that only move entries reads, and what."""
    while name in producers and producers[name].op_type in MOVES:
        place, name = (producers[name].output[0], 0), producers[name].input[0]
    return place, name


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
    close = CLOSE_IN_HALF if weight.dtype == np.float16 else CLOSE
    for name, variable in variables.items():
        if variable.size != weight.size:
            continue
        for axes in _orders(weight, variable):
            turned = variable.transpose(axes).reshape(weight.shape)
            if np.allclose(weight, turned, rtol=close, atol=0):
                return Match(name, axes)
            if _is_scaled(weight.astype(np.float32), turned, close):
                return Match(name, axes, scaled=True)
    return None


def _is_scaled(weight: Array, variable: Array, close: float) -> bool:
    """Whether a kernel is another one, each channel by a factor of its own."""
    if sum(size > 1 for size in weight.shape) < 2:
        return False
    for axis in range(weight.ndim):
        others = tuple(k for k in range(weight.ndim) if k != axis)
        square = (variable * variable).sum(axis=others, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.nan_to_num((weight * variable).sum(axis=others, keepdims=True) / square)
        scale = float(np.abs(weight).max())
        if np.allclose(weight, factor * variable, rtol=0, atol=close * scale):
            return True
    return False


def _orders(weight: Array, variable: Array) -> list[tuple[int, ...]]:
    """Orders of a variable's axes that give the weight's shape, where some may be merged."""
    orders = itertools.permutations(range(variable.ndim))
    return [order for order in orders if _merged(weight.shape, variable.shape, order) is not None]


def _merged(weight: Shape, variable: Shape, order: Shape) -> list[Shape] | None:
    """For every axis of a weight, the variable's axes that it is; axes of size 1 come and go."""
    left = [k for k in order if variable[k] > 1]
    found: list[Shape] = []
    for size in weight:
        block: Shape = ()
        while left and math.prod(variable[k] for k in block) < size:
            block += (left.pop(0),)
        if math.prod(variable[k] for k in block) != size:
            return None
        found.append(block)
    return None if left else found


def removed_along(
    match: Match, weight: Shape, variable: Shape, axis: int, indices: Sequence[int]
) -> dict[int, list[int]] | None:
    """What goes of a variable by its axes, given what goes along an axis of the weight.

    Heads and their channels are one axis of the weight: whole heads go, or the same channels of
    all. None where it is neither.
    """
    merged = _merged(weight, variable, match.axes)
    assert merged is not None
    block = merged[axis]
    gone = np.zeros(weight[axis], dtype=bool)
    gone[list(indices)] = True
    gone = gone.reshape([variable[k] for k in block])
    found, explained = {}, np.zeros_like(gone)
    for i, k in enumerate(block):
        whole = gone.all(axis=tuple(j for j in range(gone.ndim) if j != i), keepdims=True)
        explained |= whole
        if whole.any():
            found[k] = np.flatnonzero(whole).tolist()
    return found if np.array_equal(explained, gone) else None
