"""What an operator is, as its ``@rule`` says it; whoever has to know asks here.

Importing `spa.coupling.rules` fills it, as `spa.coupling.couple` does.
What has to be known below the coupling stands there: costs (`spa.graph.cost`), sizes
(`spa.graph.sizes`), random operators (`spa.graph.nodes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Operator:
    """Facts of an operator.

    Attributes:
        weights: positions of the inputs that hold weights and biases where they are constant, and
            are zeroed in the zeroed dense model then; None for all of them.
        biases: those of them that are added, and not multiplied with.
        affine: of a norm, positions of the scale and the shift of what it normalised.
        zero: which zeros it keeps: ``each`` where f(0) = 0, and where entries of a channel are
            moved, averaged or compared with each other; ``all`` where all operands have to be zero.
        pole: position of what must not be zero, as it is divided by or put into a logarithm.
        moves: it hands the entries of its first input (Concat: of all) on as they are.
        steady: what its inputs are off by, its output is off by at most.
        bounded: its values are no larger than 1, and come out of sums and quotients with 1.
        jumps: a difference in the last bit may give another output altogether.
    """

    weights: tuple[int, ...] | None = ()
    biases: tuple[int, ...] = ()
    affine: tuple[int, ...] = ()
    zero: Literal["", "each", "all"] = ""
    pole: int | None = None
    moves: bool = False
    steady: bool = False
    bounded: bool = False
    jumps: bool = False


_UNKNOWN = Operator()
_OPERATORS: dict[str, Operator] = {}


def describe(op: str, facts: Operator) -> None:
    """Notes what an operator is; once for each."""
    assert op not in _OPERATORS, f"two descriptions of {op}"
    _OPERATORS[op] = facts


def operator(op: str) -> Operator:
    """What an operator is; nothing is known of one without a rule."""
    return _OPERATORS.get(op, _UNKNOWN)


def contracts(op: str) -> bool:
    """Whether it has weights."""
    return operator(op).weights != ()


def multiplies(op: str) -> bool:
    """Whether it multiplies with its weights; Gather only looks rows of a table up."""
    return contracts(op) and op != "Gather"
