"""What is added, and not multiplied with: biases of layers, shifts of norms.

Magnitudes of weights and of shifts have no common unit, and papers on norms leave shifts out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from spa.coupling.groups import Group, Member
from spa.coupling.operators import operator
from spa.graph.model import Model
from spa.graph.nodes import Node, Use

# What hands its numbers on.
_MOVES = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze")


def without_shifts(model: Model) -> Callable[[Group, Member], bool]:
    """Picks the members that some node multiplies with; for `spa.importance.fold.Fold`."""

    def picked(_: Group, member: Member) -> bool:
        uses = member.axis.uses or tuple(reads(model, member.name))
        return not uses or not all(_adds(model.graph.nodes[u.node], u.position) for u in uses)

    return picked


def reads(model: Model, name: str) -> Iterator[Use]:
    """Reads of a tensor, looked for behind what only moves it."""
    for use in model.graph.uses.get(name, ()):
        node = model.graph.nodes[use.node]
        if node.op in _MOVES and use.position == 0:
            yield from reads(model, node.outputs[0])
        else:
            yield use


def _adds(node: Node, position: int) -> bool:
    facts = operator(node.op)
    if facts.affine:  # the scale, and then the shift
        return position in facts.affine[1:]
    return node.op in ("Add", "Sub") or position in facts.biases
