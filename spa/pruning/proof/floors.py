"""Where a tensor's smallest values are rounding alone, whatever their size.

A sigmoid comes out of a sum with one half or of a quotient with one more than a power: next to 0 it
is off by a last bit of 1, not of itself. A detector's scores of 1e-8 on an example without any
object are such; and where it gives exactly 0 in one place of a tensor, it may give a last bit of 1
in another, as the last few of a row are computed in another way than the rest.

What moves, averages or adds the entries hands that on, attention too. So does a product: with what
is known to be bounded (a constant, or another such function) by as much at most, and with anything
else by as much as each of its entries says (a channel of -200 behind a gate that is shut).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spa.coupling.operators import operator
from spa.graph.model import Array, Model
from spa.graph.nodes import Node

ADDING = frozenset({"Add", "Sub", "Sum"})
# What keeps the sums of rows that an average is taken with.
KEEPING = frozenset({"Cast", "Dropout", "Identity"})
# Units of 1 that a bounded function may be off by.
UNITS = 4


@dataclass(frozen=True)
class Floor:
    """A difference that says nothing.

    Attributes:
        flat: for every entry.
        times: tensors that add to it, each entry by its size, with the share of it.
    """

    flat: float = 0.0
    times: tuple[tuple[str, float], ...] = ()

    def among(self, tensors: Mapping[str, Array]) -> float | npt.NDArray[np.float64]:
        """The difference for every entry, as far as the tensors that it depends on are known."""
        result: float | npt.NDArray[np.float64] = self.flat
        for name, share in self.times:
            if name in tensors:
                sizes = np.abs(tensors[name].astype(np.float64))
                result = result + share * np.where(np.isfinite(sizes), sizes, 0.0)
        return result


NONE = Floor()


def floors(model: Model) -> Mapping[str, Floor]:
    """By tensor, a difference that says nothing; others have none."""
    return _Floors(model).found


class _Floors:
    """One walk over the nodes, in order."""

    def __init__(self, model: Model) -> None:
        self.found: dict[str, Floor] = {}
        self._model = model
        self._largest: dict[str, float] = {}
        self._averaging: set[str] = set()
        for node in model.graph.nodes:
            kind = model.observed.dtypes.get(node.outputs[0]) if node.outputs else None
            if kind is None or kind.kind != "f":
                continue
            if self._is_averaging(node):
                self._averaging.add(node.outputs[0])
            floor, most = self._of(node, float(np.finfo(kind).eps))
            if floor != NONE:
                names = list(filter(None, node.outputs))
                self.found.update(dict.fromkeys(names, floor))
                self._largest.update(dict.fromkeys(names, most))

    def _of(self, node: Node, unit: float) -> tuple[Floor, float]:
        """A node's floor, and how large its entries are at most."""
        read = [name for name in node.inputs if name]
        mine = [self.found.get(name, NONE).flat for name in read]
        facts = operator(node.op)
        if facts.bounded:
            return Floor(UNITS * unit), 1.0
        if not any(mine):
            return NONE, np.inf
        if facts.moves or facts.steady:
            counted = [n for n, each in zip(read, mine, strict=True) if each or n in self.found]
            return Floor(max(mine)), max(map(self._size, counted))
        if node.op in ADDING:
            return Floor(max(mine)), sum(map(self._size, read))
        if node.op == "Mul":
            return self._product(read, mine)
        if node.op == "MatMul" and read[0] in self._averaging:
            return Floor(mine[1]), self._size(read[1])
        return NONE, np.inf

    def _product(self, read: list[str], mine: list[float]) -> tuple[Floor, float]:
        sizes = [self._size(name) for name in read]
        flat, times = 0.0, []
        for each, other, size in zip(mine, reversed(read), reversed(sizes), strict=True):
            if each and np.isfinite(size):
                flat += each * size
            elif each:
                times.append((other, each))
        return Floor(flat, tuple(times)), sizes[0] * sizes[1]

    def _is_averaging(self, node: Node) -> bool:
        """Whether the last axis of what a node gives sums up to 1 at most, all of it positive."""
        if node.op == "Softmax":
            return int(node.attr("axis", -1)) in (-1, len(self._model.shapes[node.outputs[0]]) - 1)
        if node.op == "Where":  # rows that a mask shuts are no numbers, and made zero
            values = [self._model.static_value(name) for name in node.inputs[1:]]
            return any(
                value is not None and not value.any() and other in self._averaging
                for value, other in zip(values, reversed(node.inputs[1:]), strict=True)
            )
        return node.op in KEEPING and node.inputs[0] in self._averaging

    def _size(self, name: str) -> float:
        """How large a tensor's entries are at most; infinite where nothing is known."""
        if name not in self._largest:
            constant = name in self._model.constants
            value = self._model.static_value(name) if constant else None
            if value is None or value.dtype.kind not in "fiub" or not value.size:
                self._largest[name] = np.inf
            else:
                self._largest[name] = float(np.max(np.abs(value)))
        return self._largest[name]
