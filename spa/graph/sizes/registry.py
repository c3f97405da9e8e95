"""The registries of what operators do to sizes, and what such a function may ask.

*Axes* functions give the sizes of an output's axes from those of the inputs'. *Numbers* functions
follow numbers that are computed from sizes, entry by entry: targets of Reshape, bounds of slices,
pads. Both are asked only where an input holds an open size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spa.graph.nodes import Node
from spa.graph.sizes.algebra import Algebra, Size

Axes = tuple[Size, ...]
# Numbers, by entry; of size 1 along an axis of the tensor where all entries are alike.
Numbers = npt.NDArray[np.object_]


class Reasoner(Protocol):
    """What a function may ask of the walk (`spa.graph.sizes.reasoning`)."""

    algebra: Algebra

    def axes(self, name: str) -> Axes:
        """Sizes of a tensor's axes."""

    def seen(self, name: str) -> tuple[int, ...]:
        """Its shape in the example's run."""

    def dtype(self, name: str) -> np.dtype[Any] | None:
        """Its type."""

    def numbers(self, name: str) -> Numbers | None:
        """Its entries, as far as they are known; None where nothing is."""

    def fixed(self, name: str) -> npt.NDArray[Any] | None:
        """Its value, where no size and no input decides it; None where one may."""

    def open(self, node: Node, axis: int, i: int = 0) -> Size:
        """A size that nothing is known of: an axis of output ``i``."""


AxesOf = Callable[[Node, Reasoner], "Axes | Sequence[Axes]"]
NumbersOf = Callable[[Node, Reasoner], "Numbers | None"]

AXES: dict[str, AxesOf] = {}
NUMBERS: dict[str, NumbersOf] = {}


def axes_of(*ops: str) -> Callable[[AxesOf], AxesOf]:
    """Registers how operators make their outputs' sizes (of the first output, or of each)."""

    def register(function: AxesOf) -> AxesOf:
        for op in ops:
            assert op not in AXES, f"two functions for the sizes of {op}"
            AXES[op] = function
        return function

    return register


def numbers_of(*ops: str) -> Callable[[NumbersOf], NumbersOf]:
    """Registers how operators compute with numbers that come from sizes."""

    def register(function: NumbersOf) -> NumbersOf:
        for op in ops:
            assert op not in NUMBERS, f"two functions for the numbers of {op}"
            NUMBERS[op] = function
        return function

    return register
