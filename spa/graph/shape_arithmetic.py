"""Shape arithmetic: which computed numbers depend on the size of which tensor axis.

Exporters compute targets of Reshape, slice bounds and scales from ``Shape`` of some tensor. When
that tensor shrinks, such a number may have to follow, or to stay what it was. So every number that
starts at a Shape carries the set of (tensor, axis) that it depends on; movement operators move
these sets as they move the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from spa.graph.model import Model
from spa.graph.nodes import Node

Axis = tuple[str, int]
# One frozenset of axes per number, in the shape of the tensor of numbers.
Origins = npt.NDArray[np.object_]

NOTHING: frozenset[Axis] = frozenset()
ELEMENTWISE = (
    "Abs", "Add", "And", "Cast", "Ceil", "Div", "Equal", "Exp", "Floor", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg",
    "Not", "Or", "Pow", "Reciprocal", "Round", "Sqrt", "Sub", "Sum", "Where",
)  # fmt: skip
FOLDING = ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceMean", "CumSum")


class ShapeArithmetic:
    """Origins of every number that is computed from shapes.

    Args:
        model: the model.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.origins: dict[str, Origins] = {}
        nodes = model.graph.nodes
        first = next((node.index for node in nodes if node.op in ("Shape", "Size")), len(nodes))
        for node in nodes[first:]:
            if node.op not in ("Shape", "Size") and self.origins.keys().isdisjoint(node.inputs):
                continue
            origins = self._visit(node)
            if origins is not None:
                self.origins[node.outputs[0]] = origins

    def of(self, name: str) -> frozenset[Axis]:
        """All axes that any number in a tensor depends on."""
        return NOTHING.union(*self.origins[name].flat) if name in self.origins else NOTHING

    def reads(self) -> Iterator[tuple[Node, int]]:
        """Places where such numbers leave the arithmetic, read by a node that is no part of it."""
        for node in self._model.graph.nodes if self.origins else ():
            if self.origins.keys().isdisjoint(node.inputs) or node.op in ("Shape", "Size"):
                continue
            if node.outputs and node.outputs[0] in self.origins:
                continue
            for i, name in enumerate(node.inputs):
                if name in self.origins:
                    yield node, i

    def _visit(self, node: Node) -> Origins | None:
        if node.op == "Shape":
            rank = len(self._model.shapes.get(node.inputs[0], ()))
            every = [frozenset([(node.inputs[0], axis)]) for axis in range(rank)]
            return _array(every[slice(node.attr("start"), node.attr("end"))])
        if node.op == "Size":
            rank = len(self._model.shapes.get(node.inputs[0], ()))
            return _array(frozenset((node.inputs[0], axis) for axis in range(rank)))
        if len(node.outputs) != 1:
            return None
        shape = self._model.shapes.get(node.outputs[0])
        known = all(
            not name or name in self.origins or name in self._model.constants
            for name in node.inputs
        )
        if shape is None or not known:
            return None
        if node.op == "CastLike":  # of its second input it takes the type alone
            return self._read(node.inputs[0])
        if node.op in ELEMENTWISE:
            return self._elementwise(node, shape)
        if node.op in FOLDING:
            return _filled(shape, self._union(node))
        move = MOVES.get(node.op)
        if move is None or (node.op != "Concat" and node.inputs[0] not in self.origins):
            return None  # a weight that is cut at a computed bound is no size
        moved = move(node, self._model, [self._read(name) for name in node.inputs])
        return moved if moved is None or moved.shape == shape else _filled(shape, self._union(node))

    def _read(self, name: str) -> Origins:
        if name in self.origins:
            return self.origins[name]
        return _filled(self._model.shapes.get(name, ()), NOTHING)

    def _union(self, node: Node) -> frozenset[Axis]:
        return NOTHING.union(*(self.of(name) for name in node.inputs))

    def _elementwise(self, node: Node, shape: tuple[int, ...]) -> Origins:
        result = _filled(shape, NOTHING)
        for name in node.inputs:
            if name:
                wide = np.broadcast_to(self._read(name), shape)
                for place in np.ndindex(*shape):
                    result[place] = result[place] | wide[place]
        return result


def _array(value: Any) -> Origins:
    """An object array that does not try to look into the sets."""
    if isinstance(value, frozenset):
        return _filled((), value)
    result = np.empty(len(value), dtype=object)
    for i, entry in enumerate(value):
        result[i] = entry
    return result


def _filled(shape: tuple[int, ...], value: frozenset[Axis]) -> Origins:
    result = np.empty(shape, dtype=object)
    result.fill(value)
    return result


def _gather(node: Node, model: Model, inputs: list[Origins]) -> Origins | None:
    indices = model.static_value(node.inputs[1])
    if indices is None:
        return None
    return _as_array(np.take(inputs[0], indices.astype(np.int64), axis=node.attr("axis", 0)))


def _slice(node: Node, model: Model, inputs: list[Origins]) -> Origins | None:
    if "starts" in node.attrs:
        bounds = [node.attrs["starts"], node.attrs["ends"], None, None]
    else:
        bounds = [model.static_value(name) for name in (*node.inputs[1:], "", "", "")][:4]
    if bounds[0] is None or bounds[1] is None or inputs[0].ndim != 1:
        return None
    step = 1 if bounds[3] is None else int(bounds[3][0])
    return inputs[0][slice(int(bounds[0][0]), int(bounds[1][0]), step)]


def _concat(node: Node, model: Model, inputs: list[Origins]) -> Origins:
    return np.concatenate(inputs, axis=node.attr("axis", 0))


def _reshaped(node: Node, model: Model, inputs: list[Origins]) -> Origins:
    return inputs[0].reshape(model.shapes[node.outputs[0]])


def _as_array(value: Any) -> Origins:
    return value if isinstance(value, np.ndarray) else _filled((), value)


def _list_of_one_number(node: Node, model: Model, inputs: list[Origins]) -> Origins | None:
    """A list of ones or the like, as long as another list is: its numbers depend on nothing."""
    name = node.outputs[0]
    listed = len(model.shapes[name]) == 1 and model.observed.dtypes[name].kind in "iu"
    return _filled(model.shapes[name], NOTHING) if listed else None


MOVES: dict[str, Callable[[Node, Model, list[Origins]], Origins | None]] = {
    "Concat": _concat,
    "ConstantOfShape": _list_of_one_number,
    "Flatten": _reshaped,
    "Gather": _gather,
    "Reshape": _reshaped,
    "Slice": _slice,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
}
