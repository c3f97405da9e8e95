"""The registry of operator rules.

A *rule* says which labels are equal and makes the outputs' layers. A *resize* function says how a
node's size-dependent pieces (attributes, shape constants) follow when its tensors shrink; surgery
calls it, and only surgery applies what it asks for. Both stand in one file per operator family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from spa.coupling.operators import Operator, describe
from spa.coupling.tracker import Shape, Tracker
from spa.graph.model import Array, Model
from spa.graph.nodes import Node

Rule = Callable[[Node, Tracker], None]


class Cutter(Protocol):
    """What a resize function may ask and order; see `spa.pruning.surgery`."""

    opset: int
    model: Model  # the dense one

    def old_shape(self, name: str) -> Shape:
        """Shape before the cut."""

    def new_shape(self, name: str) -> Shape:
        """Shape after it."""

    def kept(self, name: str, axis: int) -> npt.NDArray[np.bool_]:
        """Which indices of an axis stay, shape (size,)."""

    def is_cut(self, name: str, axis: int) -> bool:
        """Says whether an axis shrinks."""

    def input_kept(self, node: Node, i: int, axis: int) -> npt.NDArray[np.bool_]:
        """As `kept`, of input ``i`` as this node reads it."""

    def input_shape(self, node: Node, i: int) -> Shape:
        """Shape after the cut of input ``i`` as this node reads it."""

    def value(self, node: Node, i: int) -> Array | None:
        """Value of a small input that depends on no input of the model."""

    def entries(self, node: Node, i: int) -> list[int | None] | None:
        """Whole numbers in a small input, None for those that sizes or values decide."""

    def varies(self, name: str, axis: int) -> bool:
        """Says whether an axis may have another size for other inputs."""

    def is_zero_fill(self, node: Node, i: int) -> bool:
        """Says whether input ``i`` is filled with zeros to a size that follows an input."""

    def set_attr(self, node: Node, name: str, value: Any) -> None:
        """Gives a node an attribute."""

    def set_input(self, node: Node, i: int, value: Array) -> None:
        """Gives a node a constant of its own as input ``i``."""

    def set_entries(
        self,
        node: Node,
        i: int,
        entries: Mapping[int, int],
        shares: Mapping[int, tuple[int, int]] = MappingProxyType({}),
    ) -> None:
        """Gives some entries of a computed list of integers, input ``i``, another value.

        ``shares`` says how much of others is left, of how much.
        """

    def inputs(self, node: Node) -> list[str]:
        """Names of the inputs that a node has by now."""

    def drop_input(self, node: Node, i: int) -> None:
        """Leaves an optional input out."""

    def replace(self, node: Node, nodes: Sequence[onnx.NodeProto]) -> None:
        """Puts other nodes in a node's place."""

    def constant(self, node: Node, hint: str, value: Array) -> str:
        """Adds a constant and returns its name."""


Resize = Callable[[Node, Cutter], None]

RULES: dict[str, Rule] = {}
RESIZES: dict[str, Resize] = {}


def rule(
    *ops: str,
    weights: tuple[int, ...] | None = (),
    biases: tuple[int, ...] = (),
    affine: tuple[int, ...] = (),
    zero: Literal["", "each", "all"] = "",
    pole: int | None = None,
    moves: bool = False,
    steady: bool = False,
    bounded: bool = False,
    jumps: bool = False,
) -> Callable[[Rule], Rule]:
    """Registers a rule for operators, and what these are; other domains read ``domain::Op``.

    Args:
        ops: the operators; those that differ in what they are take a decorator each.
        weights: see `spa.coupling.operators.Operator`, as for all that follows.
        biases: those of the weights that are added.
        affine: of a norm, the scale and the shift.
        zero: which zeros they keep.
        pole: the input that must not be zero.
        moves: whether they hand entries on.
        steady: whether they make no difference larger.
        bounded: whether their values are no larger than 1.
        jumps: whether a last bit decides.
    """
    facts = Operator(weights, biases, affine, zero, pole, moves, steady, bounded, jumps)

    def register(function: Rule) -> Rule:
        for op in ops:
            assert op not in RULES, f"two rules for {op}"
            RULES[op] = function
            describe(op, facts)
        return function

    return register


def resize(*ops: str) -> Callable[[Resize], Resize]:
    """Registers a resize function for operators."""

    def register(function: Resize) -> Resize:
        for op in ops:
            assert op not in RESIZES, f"two resize functions for {op}"
            RESIZES[op] = function
        return function

    return register


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis
